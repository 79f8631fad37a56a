// What follows when an endpoint gives no answer.

// An endpoint that does not take a connection is set aside, for a time that doubles with each failure. The dictionary
// forgets it a minute after the last one.
const FIRST_EJECTION = 1000;
const LONGEST_EJECTION = 30000;

function eject(endpoint) {
    const ejected = ngx.shared.wsroute_ejected;
    const now = Date.now();
    const found = (ejected.get(endpoint) || '0 0').split(' ');
    if (Number(found[0]) <= now) {
        const failures = Number(found[1]);
        const pause = Math.min(LONGEST_EJECTION, FIRST_EJECTION * Math.pow(2, failures));
        ejected.set(endpoint, (now + pause) + ' ' + (failures + 1));
    }
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

function goToAnother(r, asked, failure) {
    const table = ngx.shared.wsroute;
    const generation = liveGeneration(table);
    const server = findServer(table, generation, asked[LISTENER], asked[HOST]);
    const place = server === undefined ? null : findPath(table, generation, server, r.uri);
    const record = place === null ? null : readRecord(place.record);
    if (record === null || record.t === undefined || record.r !== failure.route) {
        return false;
    }
    const endpoint = chooseEndpoint(r, asked, table, generation, record, server, place, failure.endpoint);
    if (endpoint === '') {
        return false;
    }
    if (failure.uncounted === '') {
        uncountSocket(asked[PID], failure.endpoint);
    }
    forgetSocket(asked[PID], asked[CONNECTION], failure.route);
    r.variables.wsroute_route = failure.route;
    goTo(r.variables, asked, endpoint, failure.route, countRequest('retried', failure.route));
    r.variables.wsroute_class = other().timeoutClass(asked, record);
    return true;
}
