// What one request gets: the whole decision is made here, once.

// The named location for a request, or nothing for the usual one, in which it is already.
function decide(r) {
    const variables = r.variables;
    const table = ngx.shared.wsroute;
    const generation = liveGeneration(table);
    if (generation === '') {
        return refuse(variables, 503, 'no-table');
    }
    const shell = variables.wsroute_shell.split(' ');
    const server = findServer(table, generation, shell[0], variables.host);
    if (server === undefined) {
        countRequest('no-route', '');
        return '@wsroute_unknown_host';
    }
    const place = findPath(table, generation, server, r.uri);
    if (place === null) {
        countRequest('no-route', '');
        return '@wsroute_404';
    }
    const record = readRecord(place.record);
    if (record === null) {
        return refuse(variables, 503, 'route-invalid');
    }
    variables.wsroute_route = record.r;
    if (record.x !== undefined) {
        return refuse(variables, 503, record.x);
    }
    const isHandshake = variables.wsroute_upgrade === 'websocket';
    if (isHandshake) {
        const refusal = refuseHandshake(r, record);
        if (refusal !== '') {
            return refusal;
        }
    } else if (record.w === 1) {
        return refuse(variables, 426, 'upgrade-required');
    }
    place.key = server + place.path;
    const endpoint = chooseEndpoint(r, table, generation, record, place, '');
    if (endpoint === '') {
        return refuse(variables, 503, 'no-endpoints');
    }
    goTo(r, endpoint, countRequest(isHandshake ? 'forwarded' : 'plain', record.r));
    setHeaders(r, record, shell);
    const location = timeoutClass(record, shell);
    if (record.p === undefined) {
        return location;
    }
    // Bytes: what the client sent need not be text.
    const rest = place.prefix < 0 ? Buffer.from('') : restOf(r.rawVariables.uri, place.path, place.prefix);
    const begin = place.prefix < 0 ? record.p : record.p.replace(/\/+$/, '');
    const whole = Buffer.concat([Buffer.from(begin), rest]);
    r.rawVariables.wsroute_target = whole.length === 0 ? Buffer.from('/') : whole;
    variables.wsroute_class_after = location || '@wsroute_usual';
    return '@wsroute_rewrite';
}

function readRecord(text) {
    try {
        return JSON.parse(text);
    } catch (_) {
        return null;
    }
}

function refuse(variables, status, reason) {
    variables.wsroute_refusal = reason;
    countRequest(reason, variables.wsroute_route);
    return '@wsroute_' + status;
}

// What follows the prefix in the bytes of a path.
function restOf(path, prefix, length) {
    return path.subarray(length === 0 ? 0 : Buffer.byteLength(prefix));
}

const KEY = /^[A-Za-z0-9+/]{22}==$(?!\n)/;

// The checks of RFC 6455, section 4.2.1, and the page's origin; nothing when all is well.
function refuseHandshake(r, record) {
    const headers = r.headersIn;
    if (r.method !== 'GET') {
        return refuse(r.variables, 400, 'bad-handshake');
    }
    if (headers['Sec-WebSocket-Version'] !== '13') {
        r.variables.wsroute_spoken = '13';
        return refuse(r.variables, 426, 'upgrade-required');
    }
    if (!KEY.test(headers['Sec-WebSocket-Key'] || '')) {
        return refuse(r.variables, 400, 'bad-handshake');
    }
    if (record.o !== undefined && !permitsOrigin(record.o, headers.Origin)) {
        r.variables.wsroute_origin = headers.Origin || 'missing';
        if (record.o.m === 'E') {
            return refuse(r.variables, 403, 'origin');
        }
    }
    return '';
}

const ORIGIN = /^([a-z][-+.a-z0-9]*):\/\/(\[[0-9a-f:.]+\]|[^\x00-\x20\x7f\/:?#@,\[\]\\]+)(?::([0-9]{1,5}))?$(?!\n)/;
const DEFAULT_PORTS = {http: '80', https: '443'};

// May a page of this origin open a socket? Without the header it is no browser, unless the route says otherwise.
function permitsOrigin(rules, header) {
    if (header === undefined || header === '') {
        return rules.q !== 1;
    }
    // What browsers nearly always send, to the letter: a page of one of the route's own hosts.
    for (let i = 0; rules.h !== undefined && i < rules.h.length; i++) {
        if (header === 'https://' + rules.h[i]) {
            return true;
        }
    }
    const allowed = rules.a || [];
    const text = header.toLowerCase();
    const parts = ORIGIN.exec(text);
    if (parts === null) {
        return text === 'null' && allowed.includes('null');
    }
    const scheme = parts[1];
    const host = parts[2];
    const usual = DEFAULT_PORTS[scheme];
    if (usual !== undefined && covers(rules.h || [], '', host, '')) {
        return true;
    }
    const port = parts[3] === undefined || parts[3] === usual ? '' : ':' + parts[3];
    return covers(allowed, scheme + '://', host, port);
}

// Is a host among these, or covered by one of their wildcards, which stand for exactly one label?
function covers(hosts, before, host, after) {
    const dot = host.indexOf('.');
    return hosts.includes(before + host + after)
        || dot > 0 && hosts.includes(before + '*' + host.substring(dot) + after);
}

function goTo(r, endpoint, called) {
    const variables = r.variables;
    variables.wsroute_endpoint = endpoint;
    variables.wsroute_uncounted = countSocket(endpoint) ? '' : '1';
    noteSocket(process.pid, variables.connection, r.remoteAddress, endpoint, variables.wsroute_route, called);
}

// What no header can be: it stands for one that is not sent on.
const REMOVED = ' ';

// `shell` is: the listener, the connect timeouts, the idle timeouts, the names of headers that routes may change.
function setHeaders(r, record, shell) {
    const changed = record.s !== undefined || record.d !== undefined;
    if (shell[3] === undefined || !changed && !shell[3].includes('.')) {
        return;
    }
    const names = shell[3].split(',');
    for (let i = 0; i < names.length; i++) {
        const value = record.s === undefined ? undefined : record.s[names[i]];
        if (value !== undefined) {
            r.variables['wsroute_set_' + i] = value;
        } else if (record.d !== undefined && record.d.includes(names[i])) {
            r.variables['wsroute_set_' + i] = REMOVED;
        } else if (names[i].includes('.')) {
            // nginx's language has no variable for such a header.
            r.variables['wsroute_set_' + i] = r.headersIn[names[i]] || '';
        }
    }
}

const USUAL_CONNECT = 5000;
const USUAL_IDLE = 3600000;

// The location with the smallest timeouts that are not below a route's.
function timeoutClass(record, shell) {
    if (record.c === USUAL_CONNECT && record.i === USUAL_IDLE) {
        return '';
    }
    return '@wsroute_' + bucket(shell[1], record.c) + '_' + bucket(shell[2], record.i);
}

function bucket(buckets, milliseconds) {
    const all = buckets.split(',');
    return all.find((each) => Number(each) >= milliseconds) || all[all.length - 1];
}

// Where to go after an endpoint gave no answer: to another one, once.
function retry(r) {
    const variables = r.variables;
    const failed = variables.wsroute_endpoint;
    const status = variables.upstream_status.endsWith('504') ? '504' : '502';
    const unconnected = /(^|[ ,:])-$/.test(variables.upstream_connect_time);
    if (unconnected) {
        eject(failed);
        countRequest('ejected', variables.wsroute_route);
    }
    // What an endpoint has begun to read it may have acted upon: only what is safe is sent a second time.
    const repeatable = unconnected || r.method === 'GET' || r.method === 'HEAD';
    const location = repeatable && variables.wsroute_retried === '' ? another(r, failed) : '';
    variables.wsroute_retried = '1';
    if (location === '') {
        countRequest(status === '504' ? 'backend-timeout' : 'backend-refused', variables.wsroute_route);
        variables.wsroute_cookie = '';
        return '@wsroute_' + status;
    }
    return location;
}

function another(r, failed) {
    const table = ngx.shared.wsroute;
    const generation = liveGeneration(table);
    const shell = r.variables.wsroute_shell.split(' ');
    const server = findServer(table, generation, shell[0], r.variables.host);
    const place = server === undefined ? null : findPath(table, generation, server, requestedPath(r));
    const record = place === null ? null : readRecord(place.record);
    if (record === null || record.t === undefined || record.r !== r.variables.wsroute_route) {
        return '';
    }
    place.key = server + place.path;
    const endpoint = chooseEndpoint(r, table, generation, record, place, failed);
    if (endpoint === '') {
        return '';
    }
    release(r);
    goTo(r, endpoint, countRequest('retried', record.r));
    return timeoutClass(record, shell) || '@wsroute_usual';
}

// The path before it was rewritten.
function requestedPath(r) {
    return r.variables.wsroute_path;
}

// At the end of a request that went to an endpoint. It writes nothing to a log.
function release(r) {
    if (r.variables.wsroute_uncounted === '') {
        uncountSocket(r.variables.wsroute_endpoint);
    }
    forgetSocket(process.pid, r.variables.connection, r.variables.wsroute_route);
    return '';
}
