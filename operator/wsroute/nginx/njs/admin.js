// The admin socket: how the agent writes the table and reads what is served. Nothing is taken from it unchecked.

const LONGEST_KEY = 2560;
const LARGEST_VALUE = 256 * 1024;
const MOST_OPERATIONS = 2000;
const MOST_CLEARED = 2000;
const MOST_ASKED = 1000;
// A node of the dictionary, and what is lost when the allocator rounds up; bytes.
const OVERHEAD = 160;
// What no table is called by, until all of it was told anew.
const UNKNOWN_MARK = 'f'.repeat(64);
// What stays free for the next change's values, which are written before the old ones are given back.
const RESERVE = 256 * 1024;

const ENDPOINT_ID = /^[0-9a-f]{8}$(?!\n)/;
const MARK = /^[0-9a-f]{64}$(?!\n)/;
const HOST_KEY = /^h[a-z0-9-]{1,63} [*a-z0-9.-]{1,255}$(?!\n)/;
const PATH_KEY = /^[=^][^\/\x00-\x1f\x7f]{1,1500}\//;
const GROUP_KEY = /^e[^\x00-\x1f\x7f]{1,400}$(?!\n)/;
const CERTIFICATE_KEY = /^c[a-z0-9-]{1,63} (?:\*|(?:\*\.)?[a-z0-9.-]{1,253})$(?!\n)/;
const KEYS = [HOST_KEY, PATH_KEY, GROUP_KEY, CERTIFICATE_KEY];
const HOST_VALUE = /^[0-9]{1,4} [^\x00-\x20\x7f]{1,1500}$(?!\n)/;
const GROUP_HEAD = /^(0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]?)$(?!\n)/;

function reply(r, status, value) {
    r.headersOut['Content-Type'] = 'application/json';
    r.return(status, JSON.stringify(value) + '\n');
}

function fail(r, status, message) {
    r.return(status, message + '\n');
}

// Is there a table to serve? The same for the kubelet and for the agent.
function ready(r) {
    if (liveGeneration(ngx.shared.wsroute) === '') {
        return fail(r, 503, 'no table');
    }
    r.return(200, r.variables.wsroute_version);
}

function describe(r) {
    const table = ngx.shared.wsroute;
    const live = liveGeneration(table);
    reply(r, 200, {
        format: 1,
        live: live,
        mark: live === '' ? '' : table.get('m').substring(2),
        free: table.freeSpace(),
        capacity: table.capacity,
        entries: sizeOf(table) - (live === '' ? 0 : 1),
    });
}

// How many keys the table has. To count 30,000 takes 1.6 ms, in which the worker does nothing else, and the agent asks
// each second: so the number is kept until somebody writes, or for some seconds.
function sizeOf(table) {
    const sizes = ngx.shared.wsroute_size;
    let size = sizes.get('table');
    if (size === undefined) {
        size = table.size();
        sizes.set('table', size);
    }
    return size;
}

function forgetSize() {
    ngx.shared.wsroute_size.delete('table');
}

// Changes of what is served, one key after another, and then the mark of the whole.
function change(r) {
    const generation = r.args.generation;
    const table = ngx.shared.wsroute;
    if (!MARK.test(r.args.mark) || !MARK.test(r.args.from) || !isGeneration(generation)) {
        return fail(r, 400, 'generation, mark and from are needed');
    }
    if (table.get('m') !== generation + ' ' + r.args.from) {
        return fail(r, 409, 'another table is live');
    }
    if (write(r, table, generation, true)) {
        table.set('m', generation + ' ' + r.args.mark);
        r.return(204);
    }
}

// Write entries of a generation that is not served yet.
function entries(r) {
    const table = ngx.shared.wsroute;
    if (isSpare(r, table) && write(r, table, r.args.generation, false)) {
        r.return(204);
    }
}

// From now on a generation is served.
function flip(r) {
    const table = ngx.shared.wsroute;
    if (!MARK.test(r.args.mark)) {
        return fail(r, 400, 'mark is needed');
    }
    if (isSpare(r, table)) {
        try {
            table.set('m', r.args.generation + ' ' + r.args.mark);
        } catch (_) {
            return fail(r, 507, 'the dictionary is full');
        }
        forgetSize();
        r.return(204);
    }
}

// Delete a generation that is not served: a part of it at each call, so that no socket waits long.
function clear(r) {
    const table = ngx.shared.wsroute;
    if (!isSpare(r, table)) {
        return;
    }
    const keys = table.keys(MANY);
    let cleared = 0;
    let left = 0;
    for (let i = 0; i < keys.length; i++) {
        if (keys[i][0] === r.args.generation) {
            if (cleared < MOST_CLEARED) {
                table.delete(keys[i]);
                cleared++;
            } else {
                left++;
            }
        }
    }
    forgetSize();
    reply(r, 200, {cleared: cleared, left: left});
}

function isGeneration(letter) {
    return letter === 'a' || letter === 'b';
}

function isSpare(r, table) {
    if (!isGeneration(r.args.generation)) {
        fail(r, 400, 'generation must be a or b');
        return false;
    }
    if (r.args.generation === liveGeneration(table)) {
        fail(r, 409, 'this generation is live');
        return false;
    }
    return true;
}

// Do what the body says, all or nothing as far as its form and the free space go; false when it was answered already.
function write(r, table, generation, deletes) {
    let operations;
    try {
        operations = JSON.parse(r.requestText);
    } catch (_) {
        fail(r, 400, 'the body is no JSON');
        return false;
    }
    if (!Array.isArray(operations) || operations.length > MOST_OPERATIONS) {
        fail(r, 400, 'the body must be a list of at most ' + MOST_OPERATIONS + ' operations');
        return false;
    }
    let needed = RESERVE;
    for (let i = 0; i < operations.length; i++) {
        const fault = faultOf(operations[i], deletes);
        if (fault !== '') {
            fail(r, 400, 'operation ' + i + ': ' + fault);
            return false;
        }
        needed += roomOf(operations[i]);
    }
    if (table.freeSpace() < needed) {
        fail(r, 507, 'the dictionary has ' + table.freeSpace() + ' bytes left, and this needs ' + needed);
        return false;
    }
    try {
        for (let i = 0; i < operations.length; i++) {
            const operation = operations[i];
            if (operation[0] === 's') {
                table.set(generation + operation[1], operation[2]);
            } else {
                table.delete(generation + operation[1]);
            }
        }
    } catch (_) {
        // There was room, but not in one piece. A table that serves is now neither the old one nor the new one.
        if (deletes) {
            table.set('m', generation + ' ' + UNKNOWN_MARK);
        }
        fail(r, deletes ? 500 : 507, 'the dictionary has no room in one piece for a part of this');
        return false;
    } finally {
        forgetSize();
    }
    return true;
}

// The allocator gives blocks of powers of two up to half a page, and whole pages beyond.
function roomOf(operation) {
    return operation[0] === 's' ? 2 * (operation[1].length + operation[2].length) + OVERHEAD : 0;
}

function faultOf(operation, deletes) {
    if (!Array.isArray(operation) || typeof operation[1] !== 'string') {
        return 'it must be a list with a key';
    }
    const key = operation[1];
    if (key.length > LONGEST_KEY || !KEYS.some((form) => form.test(key))) {
        return 'a key must be one of a host, a path, a group or a certificate';
    }
    if (operation[0] === 'd' && operation.length === 2 && deletes) {
        return '';
    }
    if (operation[0] !== 's' || operation.length !== 3 || typeof operation[2] !== 'string') {
        return 'it must set a key to a text' + (deletes ? ', or delete one' : '');
    }
    const value = operation[2];
    if (value.length > LARGEST_VALUE) {
        return 'a value has at most ' + LARGEST_VALUE + ' characters';
    }
    return isValue(key[0], value) ? '' : 'the value has not the form that its key needs';
}

function isValue(kind, value) {
    switch (kind) {
    case 'h':
        return HOST_VALUE.test(value);
    case 'e':
        return isGroup(value);
    case 'c':
        return FILES.test(value);
    default:
        return isRecord(readRecord(value));
    }
}

function isGroup(value) {
    const end = value.indexOf('\n');
    const head = GROUP_HEAD.exec(value.substring(0, end));
    if (head === null) {
        return false;
    }
    const number = Number(head[1]) + Number(head[2]);
    const width = Number(head[3]);
    const group = {text: value, start: end + 1, width: width};
    if (value.length !== end + 1 + number * width) {
        return false;
    }
    for (let i = 0; i < number; i++) {
        if (!ENDPOINT_ID.test(idOf(group, i)) || !ADDRESS.test(addressOf(group, i))) {
            return false;
        }
    }
    return true;
}

// What `decide` relies on; which route says what is the operator's business.
function isRecord(record) {
    if (record === null || typeof record !== 'object' || typeof record.r !== 'string') {
        return false;
    }
    if (record.x !== undefined) {
        return typeof record.x === 'string';
    }
    return Array.isArray(record.t) && record.t.length > 0 && record.t.every(isTarget)
        && typeof record.i === 'number' && typeof record.c === 'number'
        && typeof record.b === 'object' && record.b !== null && 'LRH'.includes(record.b.p);
}

function isTarget(target) {
    return Array.isArray(target) && typeof target[0] === 'string' && Number.isInteger(target[1]) && target[1] > 0;
}

// The keys of what is served, in no order, a line for each. All at once, because a dictionary can't be read on from a
// key: 13 ms for 50,000 of them. What they hold is asked for in portions.
function keys(r) {
    const table = ngx.shared.wsroute;
    const live = liveGeneration(table);
    const found = table.keys(MANY).filter((key) => key[0] === live);
    r.headersOut['Content-Type'] = 'text/plain; charset=utf-8';
    r.return(200, found.map((key) => key.substring(1) + '\n').join(''));
}

// What some keys hold, null for one that there is not: JSON has no other word for it.
function values(r) {
    const table = ngx.shared.wsroute;
    const live = liveGeneration(table);
    const wanted = askedFor(r);
    if (wanted !== null) {
        reply(r, 200, wanted.map((key) => live === '' ? null : table.get(live + key)));
    }
}

// How many sockets some endpoints have; all that have any, when none are named.
function sockets(r) {
    const counts = ngx.shared.wsroute_sockets;
    if (r.method === 'POST') {
        const wanted = askedFor(r);
        return wanted === null ? undefined : reply(r, 200, wanted.map((endpoint) => liveSockets(counts, endpoint)));
    }
    const found = {};
    counts.keys(MANY).forEach((key) => {
        const number = key[0] === 't' ? liveSockets(counts, key.substring(1)) : 0;
        if (number > 0) {
            found[key.substring(1)] = number;
        }
    });
    reply(r, 200, found);
}

// The texts that a question names, or null once it was answered.
function askedFor(r) {
    let wanted;
    try {
        wanted = JSON.parse(r.requestText);
    } catch (_) {
        wanted = null;
    }
    const isGood = Array.isArray(wanted) && wanted.length <= MOST_ASKED
        && wanted.every((text) => typeof text === 'string' && text.length <= LONGEST_KEY);
    if (!isGood) {
        fail(r, 400, 'the body must be a list of at most ' + MOST_ASKED + ' texts');
    }
    return isGood ? wanted : null;
}

// The open sockets of one part of the dictionaries, a line for each: `<pid> <connection> <start> <client> <endpoint>
// <route>`. How many parts there are stands in a header.
function open(r) {
    const part = Number(r.args.part || 0);
    if (!Number.isInteger(part) || part < 0 || part >= PARTS) {
        return fail(r, 400, 'part must be a number below ' + PARTS);
    }
    const lines = openPart(part).items(MANY).map((item) => item[0] + ' ' + item[1] + '\n');
    r.headersOut['X-Parts'] = String(PARTS);
    r.headersOut['Content-Type'] = 'text/plain; charset=utf-8';
    r.return(200, lines.join(''));
}

// What is counted, for the agent's metrics: the requests by reason and route, the open sockets by route, and how many
// endpoints are set aside.
function counts(r) {
    const open = {};
    ngx.shared.wsroute_routes.items(MANY).forEach((item) => {
        const route = item[0].substring(item[0].indexOf(' ') + 1);
        open[route] = (open[route] || 0) + Math.max(0, item[1]);
    });
    const ejected = ngx.shared.wsroute_ejected;
    const now = Date.now();
    const aside = ejected.keys(MANY).filter((endpoint) => isEjected(ejected, endpoint, now));
    reply(r, 200, {requests: countedRequests(), open: open, ejected: aside.length});
}

// As `<reason> <route>`. The keys of each namespace are counted anew: some have been forgotten since.
function countedRequests() {
    const dictionary = ngx.shared.wsroute_counts;
    const found = {};
    const numbers = {'#': 0};
    dictionary.items(MANY).forEach((item) => {
        const key = item[0];
        const slash = key.indexOf('/');
        if (key[0] === '#') {
            numbers[key] = numbers[key] || 0;
        } else {
            found[key] = item[1];
            if (slash > 0) {
                const own = '#' + key.substring(key.indexOf(' ') + 1, slash);
                numbers[own] = (numbers[own] || 0) + 1;
                numbers['#']++;
            }
        }
    });
    Object.keys(numbers).forEach((key) => dictionary.set(key, numbers[key]));
    return found;
}

// By the location; there are no others that bring a request here.
const ANSWERS = {
    '/readyz': ready,
    '/table': describe,
    '/table/changes': change,
    '/table/clear': clear,
    '/table/counts': counts,
    '/table/entries': entries,
    '/table/flip': flip,
    '/table/keys': keys,
    '/table/open': open,
    '/table/sockets': sockets,
    '/table/values': values,
};

function answer(r) {
    return ANSWERS[r.uri](r);
}
