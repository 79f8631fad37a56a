// A request goes to an endpoint: from now on it holds a socket.

// Bytes that stay free: nginx would write a line to its log for each socket that finds no room.
const SPARE = 16384;

// One socket more in the worker `pid`; false when the dictionary is full, and then it must not be taken back.
function countSocket(pid, endpoint) {
    const counts = ngx.shared.wsroute_sockets;
    const own = 'p' + pid + ' ' + endpoint;
    try {
        if (counts.incr(own, 1, 0) === 1) {
            registerWorker(pid);
        }
    } catch (_) {
        return false;
    }
    try {
        counts.incr('t' + endpoint, 1, 0);
    } catch (_) {
        addTo(counts, own, -1);
        return false;
    }
    return true;
}

// For people. `called` is what `countRequest` gave.
function noteSocket(pid, connection, client, endpoint, route, called) {
    const routes = ngx.shared.wsroute_routes;
    const part = openPart(connection);
    try {
        if (routes.freeSpace() > SPARE) {
            routes.incr(pid + ' ' + called, 1, 0);
        }
        if (part.freeSpace() > SPARE) {
            const now = Math.floor(Date.now() / 1000);
            part.set(pid + ' ' + connection, now + ' ' + client + ' ' + endpoint + ' ' + route);
        }
    } catch (_) {
        // A dictionary is full: the socket is served all the same.
    }
}
