// How many sockets each endpoint has, over all workers, and which endpoints refuse connections.
//
// `t<endpoint>` is what all workers together hold, `p<pid> <endpoint>` the part of one of them. A worker that is killed
// can't take its part back: the others do, once the process is gone. One that only shuts down still holds its sockets.

// All keys of a dictionary: without a number there are at most 1,024.
const MANY = 1 << 24;

function liveSockets(counts, endpoint) {
    return Math.max(0, counts.get('t' + endpoint) || 0);
}

// One socket more in the worker `pid`; false when the dictionary is full, and then it must not be taken back.
function countSocket(pid, endpoint) {
    const counts = ngx.shared.wsroute_sockets;
    const own = 'p' + pid + ' ' + endpoint;
    try {
        if (counts.incr(own, 1, 0) === 1) {
            registerWorker(ngx.shared.wsroute_workers, pid);
        }
    } catch (_) {
        return false;
    }
    try {
        counts.incr('t' + endpoint, 1, 0);
    } catch (_) {
        counts.incr(own, -1, 0);
        return false;
    }
    return true;
}

function uncountSocket(pid, endpoint) {
    const counts = ngx.shared.wsroute_sockets;
    const own = 'p' + pid + ' ' + endpoint;
    if (counts.incr(own, -1, 0) <= 0) {
        counts.delete(own);
    }
    counts.incr('t' + endpoint, -1, 0);
}

// Put on record who counts. A worker does so once: to read that file costs more than all the rest of a handshake.
function registerWorker(workers, pid) {
    if (workers.get(pid) === undefined) {
        workers.set(pid, startOf(pid));
    }
}

// When a process started, in the kernel's ticks; nothing when it is gone.
function startOf(pid) {
    try {
        const stat = fs.readFileSync('/proc/' + pid + '/stat', 'utf8');
        // Behind the name in parentheses: the state first, the start as the twentieth (proc_pid_stat(5)).
        const fields = stat.substring(stat.lastIndexOf(')') + 2).split(' ');
        return fields[0] === 'Z' ? '' : fields[19];
    } catch (_) {
        return '';
    }
}

// Take back what workers held that are gone. Whoever deletes a worker's entry is the one to do it.
function repairCounts() {
    const workers = ngx.shared.wsroute_workers;
    const pids = workers.keys(MANY);
    for (let i = 0; i < pids.length; i++) {
        const pid = pids[i];
        if (startOf(pid) !== workers.get(pid) && workers.delete(pid)) {
            takeBack('p' + pid + ' ');
            forgetWorker(pid);
        }
    }
}

function takeBack(prefix) {
    const counts = ngx.shared.wsroute_sockets;
    const keys = counts.keys(MANY);
    for (let i = 0; i < keys.length; i++) {
        if (keys[i].startsWith(prefix)) {
            counts.incr('t' + keys[i].substring(prefix.length), -counts.get(keys[i]), 0);
            counts.delete(keys[i]);
        }
    }
}

// An endpoint that does not take a connection is set aside, for a time that doubles with each failure. The dictionary
// forgets it a minute after the last one.
const FIRST_EJECTION = 1000;
const LONGEST_EJECTION = 30000;

function isEjected(ejected, endpoint, now) {
    const found = ejected.get(endpoint);
    return found !== undefined && Number(found.substring(0, found.indexOf(' '))) > now;
}

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
