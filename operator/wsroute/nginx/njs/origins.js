// The Origins of pages that may open sockets, beside what browsers nearly always send.

const ORIGIN = /^([a-z][-+.a-z0-9]*):\/\/(\[[0-9a-f:.]+\]|[^\x00-\x20\x7f\/:?#@,\[\]\\]+)(?::([0-9]{1,5}))?$(?!\n)/;
const DEFAULT_PORTS = {http: '80', https: '443'};

function covers(rules, header) {
    const allowed = rules.a || [];
    const text = header.toLowerCase();
    const parts = ORIGIN.exec(text);
    if (parts === null) {
        return text === 'null' && allowed.includes('null');
    }
    const scheme = parts[1];
    const host = parts[2];
    const usual = DEFAULT_PORTS[scheme];
    if (usual !== undefined && isAmong(rules.h || [], '', host, '')) {
        return true;
    }
    const port = parts[3] === undefined || parts[3] === usual ? '' : ':' + parts[3];
    return isAmong(allowed, scheme + '://', host, port);
}

// Is a host among these, or covered by one of their wildcards, which stand for exactly one label?
function isAmong(hosts, before, host, after) {
    const dot = host.indexOf('.');
    return hosts.includes(before + host + after)
        || dot > 0 && hosts.includes(before + '*' + host.substring(dot) + after);
}
