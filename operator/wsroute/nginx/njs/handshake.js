// What is asked, and may it be? `admit` says what becomes of a request that may.

// The short form of the hop brings the handshake's headers only, and has room for an answer with so many characters of
// names and paths.
const SHORT = 100;

// `handshake` is what nginx's own table of handshakes says of it.
function decideFirst(r, asked, handshake) {
    const variables = r.variables;
    const table = ngx.shared.wsroute;
    const generation = liveGeneration(table);
    if (generation === '') {
        return refuse(variables, 503, 'no-table');
    }
    const server = findServer(table, generation, asked[LISTENER], asked[HOST]);
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
    if (asked[FORM] !== 'whole' && needsMore(asked, record, place)) {
        return '@wsroute_whole';
    }
    variables.wsroute_route = record.r;
    if (record.x !== undefined) {
        return refuse(variables, 503, record.x);
    }
    const upgrade = asked[UPGRADE];
    let permitted = true;
    if (upgrade === 'websocket') {
        const verdict = handshake || judgeHandshake(r);
        if (verdict === 'bad-handshake') {
            return refuse(variables, 400, verdict);
        }
        if (verdict === 'upgrade-required') {
            variables.wsroute_spoken = '13';
            return refuse(variables, 426, verdict);
        }
        if (record.o !== undefined && !permitsOrigin(record.o, r.headersIn.Origin)) {
            if (record.o.m === 'E') {
                return refuse(variables, 403, 'origin');
            }
            variables.wsroute_foreign = '1';
            permitted = false;
        }
    } else if (record.w === 1) {
        return refuse(variables, 426, 'upgrade-required');
    }
    return admit(r, asked, table, generation, record, server, place, permitted);
}

function needsMore(asked, record, place) {
    return record.k !== undefined || record.s !== undefined || record.b !== undefined && 'HC'.includes(record.b.on)
        || record.r.length + (record.p === undefined ? 0 : record.p.length + place.path.length) > SHORT
        || hasOddNames(asked);
}

// May routes change headers that nginx's language has no variable for?
function hasOddNames(asked) {
    return asked[NAMES] !== undefined && asked[NAMES].includes('.');
}

function refuse(variables, status, reason) {
    variables.wsroute_refusal = reason;
    countRequest(reason, variables.wsroute_route);
    return '@wsroute_' + status;
}

// The same as nginx's own table of handshakes, near enough: the worker of an earlier release, which may be asking while
// nginx reloads, does not have that.
function judgeHandshake(r) {
    const headers = r.headersIn;
    if (r.method === 'GET' && headers['Sec-WebSocket-Version'] !== '13') {
        return 'upgrade-required';
    }
    const key = headers['Sec-WebSocket-Key'];
    return r.method === 'GET' && key !== undefined && key.length === 24 ? 'sound' : 'bad-handshake';
}

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
    return origins().covers(rules, header);
}
