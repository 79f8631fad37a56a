// How many sockets each endpoint has, over all workers.
//
// `t<endpoint>` is what all workers together hold, `p<pid> <endpoint>` the part of one of them. A worker that is killed
// can't take its part back: the others do, once the process is gone. One that only shuts down still holds its sockets.

// All keys of a dictionary: without a number there are at most 1,024.
const MANY = 1 << 24;

function liveSockets(counts, endpoint) {
    return Math.max(0, counts.get('t' + endpoint) || 0);
}

function uncountSocket(pid, endpoint) {
    const counts = ngx.shared.wsroute_sockets;
    const own = 'p' + pid + ' ' + endpoint;
    if (counts.incr(own, -1, 0) <= 0) {
        counts.delete(own);
    }
    counts.incr('t' + endpoint, -1, 0);
}
