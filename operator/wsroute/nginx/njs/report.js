// What is counted and listed for people: requests by route and reason, open sockets by route, and each open socket.
// None of it decides anything. Where there is no room, this is all that is lost.
//
// In `wsroute_counts`: `<reason> <namespace/name>`, and `#<namespace>` and `#`, how many of those keys a namespace and
// all have: one team's many routes must not take the room of others. What has no key of its own is counted as `other`.
// In `wsroute_routes`: `<pid> <route>`, the open sockets that a worker holds. In `wsroute_open_<n>`: `<pid> <connection>`,
// an open socket: when it began in seconds, the client's address, the endpoint, the route. A dictionary can only be
// listed as a whole, and its worker stands still meanwhile, for 2 ms per 3,000: so there are several of these.

const OTHER = 'other';
const MOST_KEYS = 4000;
const MOST_KEYS_OF_A_NAMESPACE = 400;
const PARTS = 16;

// Count a request's fate; gives what its route is called in the figures.
function countRequest(reason, route) {
    const counts = ngx.shared.wsroute_counts;
    try {
        if (counts.incr(reason + ' ' + route, 1, 0) > 1 || admitKey(counts, route)) {
            return route;
        }
        counts.delete(reason + ' ' + route);
        counts.incr(reason + ' ' + OTHER, 1, 0);
    } catch (_) {
        // The dictionary is full.
    }
    return OTHER;
}

// Is there room for one more key? Where the table knows no route for a request there is one key for all of them.
function admitKey(counts, route) {
    if (route === '') {
        return true;
    }
    const own = '#' + route.substring(0, route.indexOf('/'));
    const isRoom = counts.incr('#', 1, 0) <= MOST_KEYS;
    const isOwnRoom = counts.incr(own, 1, 0) <= MOST_KEYS_OF_A_NAMESPACE;
    if (isRoom && isOwnRoom) {
        return true;
    }
    counts.incr('#', -1);
    counts.incr(own, -1);
    return false;
}

function openPart(connection) {
    return ngx.shared['wsroute_open_' + connection % PARTS];
}

// A socket is over.
function forgetSocket(pid, connection, route) {
    openPart(connection).delete(pid + ' ' + connection);
    const routes = ngx.shared.wsroute_routes;
    const own = pid + ' ' + route;
    const key = routes.get(own) > 0 ? own : pid + ' ' + OTHER;
    if (routes.incr(key, -1, 0) <= 0) {
        routes.delete(key);
    }
}
