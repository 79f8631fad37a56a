// What one request gets: the whole decision is made here, once, in the hop that the request takes.

// What the hop was told of the request; nothing in it comes from the client but the name of the host.
function readAsked(r) {
    const words = r.headersIn['X-WSRoute-Asked'].split(' ');
    return {
        whole: words[0] === 'whole',
        pid: words[1],
        connection: words[2],
        client: words[3],
        scheme: words[4],
        upgrade: words[5],
        host: words[6],
        listener: words[7],
        connect: words[8],
        idle: words[9],
        names: words[10],
    };
}

// The named location in which the request goes on. It is one that every version of nginx.conf has: when nginx reloads, an
// older worker may be asking.
function decide(r) {
    const asked = readAsked(r);
    return r.headersIn['X-WSRoute-Failed'] === undefined ? decideFirst(r, asked) : decideAgain(r, asked);
}

const USUAL = '@wsroute_usual';
// The short form of the hop brings the handshake's headers only, and has room for an answer with so many characters of
// names and paths.
const SHORT = 100;
// A page that may not open sockets, but does.
const REPORTED = '@';

function decideFirst(r, asked) {
    const variables = r.variables;
    const table = ngx.shared.wsroute;
    const generation = liveGeneration(table);
    if (generation === '') {
        return refuse(variables, 503, 'no-table');
    }
    const server = findServer(table, generation, asked.listener, asked.host);
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
    if (!asked.whole && needsMore(asked, record, place)) {
        return '@wsroute_whole';
    }
    variables.wsroute_route = record.r;
    if (record.x !== undefined) {
        return refuse(variables, 503, record.x);
    }
    let usual = true;
    if (asked.upgrade === 'websocket') {
        const refusal = refuseHandshake(r, record);
        if (refusal === REPORTED) {
            variables.wsroute_foreign = '1';
            usual = false;
        } else if (refusal !== '') {
            return refusal;
        }
    } else if (record.w === 1) {
        return refuse(variables, 426, 'upgrade-required');
    }
    place.key = server + place.path;
    const endpoint = chooseEndpoint(r, asked, table, generation, record, place, '');
    if (endpoint === '') {
        return refuse(variables, 503, 'no-endpoints');
    }
    const called = countRequest(asked.upgrade === 'websocket' ? 'forwarded' : 'plain', record.r);
    const counted = goTo(variables, asked, endpoint, record.r, called);
    const changed = setHeaders(r, asked, record);
    const location = timeoutClass(asked, record);
    if (record.p === undefined && usual && counted && !changed && location === USUAL && record.k === undefined) {
        return USUAL;
    }
    variables.wsroute_class = location;
    variables.wsroute_next = location;
    if (record.p === undefined) {
        return '@wsroute_other';
    }
    variables.wsroute_next = '@wsroute_rewrite';
    variables.wsroute_prefix = place.prefix === 0 ? '' : place.path;
    variables.wsroute_begin = place.prefix < 0 ? record.p : record.p.replace(/\/+$/, '');
    return '@wsroute_other';
}

function needsMore(asked, record, place) {
    return record.k !== undefined || record.s !== undefined || record.b !== undefined && 'HC'.includes(record.b.on)
        || record.r.length + (record.p === undefined ? 0 : record.p.length + place.path.length) > SHORT
        || asked.names !== undefined && asked.names.includes('.');
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
        return record.o.m === 'E' ? refuse(r.variables, 403, 'origin') : REPORTED;
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

function goTo(variables, asked, endpoint, route, called) {
    const counted = countSocket(asked.pid, endpoint);
    noteSocket(asked, endpoint, route, called);
    variables.wsroute_endpoint = endpoint;
    if (!counted) {
        variables.wsroute_uncounted = '1';
    }
    return counted;
}

// Which of the headers that routes may change are other ones than the client's: `=` and the value, or this for none.
const REMOVED = '-';

function setHeaders(r, asked, record) {
    const changed = record.s !== undefined || record.d !== undefined;
    if (asked.names === undefined || !changed && !asked.names.includes('.')) {
        return false;
    }
    const names = asked.names.split(',');
    for (let i = 0; i < names.length; i++) {
        const value = record.s === undefined ? undefined : record.s[names[i]];
        if (value !== undefined) {
            r.variables['wsroute_set_' + i] = '=' + value;
        } else if (record.d !== undefined && record.d.includes(names[i])) {
            r.variables['wsroute_set_' + i] = REMOVED;
        } else if (names[i].includes('.') && r.headersIn[names[i]] !== undefined) {
            // nginx's language has no variable for such a header.
            r.variables['wsroute_set_' + i] = '=' + r.headersIn[names[i]];
        }
    }
    return true;
}

const USUAL_CONNECT = 5000;
const USUAL_IDLE = 3600000;

// The location with the smallest timeouts that are not below a route's, of those that the asking nginx.conf has.
function timeoutClass(asked, record) {
    if (record.c === USUAL_CONNECT && record.i === USUAL_IDLE) {
        return USUAL;
    }
    return '@wsroute_' + bucket(asked.connect, record.c) + '_' + bucket(asked.idle, record.i);
}

function bucket(buckets, milliseconds) {
    const all = buckets.split(',');
    return all.find((each) => Number(each) >= milliseconds) || all[all.length - 1];
}

// Where to go after an endpoint gave no answer: to another one, once.
function decideAgain(r, asked) {
    const failure = readFailure(r);
    const status = failure.statuses.endsWith('504') ? '504' : '502';
    const unconnected = /(^|[ ,:])-$/.test(failure.connects);
    if (unconnected) {
        eject(failure.endpoint);
        countRequest('ejected', failure.route);
    }
    // What an endpoint has begun to read it may have acted upon: only what is safe is sent a second time.
    const repeatable = unconnected || r.method === 'GET' || r.method === 'HEAD';
    const again = repeatable && failure.tries === 1 && goToAnother(r, asked, failure);
    if (again) {
        return '@wsroute_again';
    }
    countRequest(status === '504' ? 'backend-timeout' : 'backend-refused', failure.route);
    return '@wsroute_' + status;
}

function readFailure(r) {
    const words = r.headersIn['X-WSRoute-Failed'].split('|');
    return {
        tries: words[0].length,
        route: words[1],
        endpoint: words[2],
        uncounted: words[3],
        statuses: words[4],
        connects: words[5],
    };
}

function goToAnother(r, asked, failure) {
    const table = ngx.shared.wsroute;
    const generation = liveGeneration(table);
    const server = findServer(table, generation, asked.listener, asked.host);
    const place = server === undefined ? null : findPath(table, generation, server, r.uri);
    const record = place === null ? null : readRecord(place.record);
    if (record === null || record.t === undefined || record.r !== failure.route) {
        return false;
    }
    place.key = server + place.path;
    const endpoint = chooseEndpoint(r, asked, table, generation, record, place, failure.endpoint);
    if (endpoint === '') {
        return false;
    }
    if (failure.uncounted === '') {
        uncountSocket(asked.pid, failure.endpoint);
    }
    forgetSocket(asked.pid, asked.connection, failure.route);
    r.variables.wsroute_route = failure.route;
    goTo(r.variables, asked, endpoint, failure.route, countRequest('retried', failure.route));
    r.variables.wsroute_class = timeoutClass(asked, record);
    return true;
}

// The request that asked has not heard the decision: its worker is gone, or waited in vain.
function undo(r) {
    const endpoint = r.variables.wsroute_endpoint;
    if (endpoint !== '') {
        const asked = readAsked(r);
        const pid = asked.pid;
        const failure = r.headersIn['X-WSRoute-Failed'] === undefined ? null : readFailure(r);
        const route = r.variables.wsroute_route;
        forgetSocket(pid, asked.connection, route);
        if (r.variables.wsroute_uncounted === '') {
            uncountSocket(pid, endpoint);
        }
        if (failure !== null) {
            noteSocket(asked, failure.endpoint, failure.route, failure.route);
            if (failure.uncounted === '') {
                countSocket(pid, failure.endpoint);
            }
        }
    }
    return '';
}

// At the end of a request that went to an endpoint. It writes nothing to a log.
function release(r) {
    if (r.variables.wsroute_uncounted === '') {
        uncountSocket(process.pid, r.variables.wsroute_endpoint);
    }
    forgetSocket(process.pid, r.variables.connection, r.variables.wsroute_route);
    if (r.variables.wsroute_upgrade === 'websocket' && r.variables.wsroute_refusal === '') {
        countEnd(r.variables.status, r.variables.wsroute_route);
    }
    return '';
}
