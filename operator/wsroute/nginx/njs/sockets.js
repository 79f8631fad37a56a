// How many sockets each endpoint has, over all workers.
//
// `t<endpoint>` is what all workers together hold, `p<pid> <endpoint>` the part of one of them. A worker that is killed
// can't take its part back: the others do, once the process is gone. One that only shuts down still holds its sockets.
//
// Endpoints come and go for as long as nginx runs, so there is a key only while it is not 0. There is no way to delete
// one only if it is 0; that the counts are exact all the same is because:
//
// - Whatever changes a count adds to it, in one step of the dictionary. In which order that happens makes no difference,
//   and the part and the whole are always changed by the same: without a change under way `t` is the sum of the `p`.
// - A count that has become 0 is taken out, and what came out with it, because others have added in between, is added
//   again. Until then readers see too little, even less than 0: one choice is a little worse.
// - Of a worker that is gone the part is taken out, and what came out is subtracted from the whole. Who takes a socket of
//   it back only later makes a new part, below 0, and puts that worker on record again, so that this part follows.
//
// What can't be undone is one step of a worker that is killed between two of these, or that finds the dictionary so full
// that there is no room for what it has just taken out.

// All keys of a dictionary: without a number there are at most 1,024.
const MANY = 1 << 24;

function liveSockets(counts, endpoint) {
    return Math.max(0, counts.get('t' + endpoint) || 0);
}

function uncountSocket(pid, endpoint) {
    const counts = ngx.shared.wsroute_sockets;
    if (addTo(counts, 'p' + pid + ' ' + endpoint, -1) < 0) {
        registerWorker(pid);
    }
    addTo(counts, 't' + endpoint, -1);
}

// Add to a count, and take it out when that makes it 0; gives what it is then.
function addTo(counts, key, number) {
    let left = 0;
    while (number !== 0 && (left = counts.incr(key, number, 0)) === 0) {
        number = counts.pop(key) || 0;
    }
    return left;
}
