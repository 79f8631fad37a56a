import crypto from 'crypto';
import fs from 'fs';

// The table of the Dynamic data plane: reading it (the forms are those of dataplane/dictionary.py).
//
// The files of this folder are joined to one module, because one file travels to the pods. They are written for njs's
// own engine: nginx clones its machine for each request, so nothing can be kept between two requests but in
// dictionaries. A constant must stand before the functions that use it.

// The letter of the generation that is served, or nothing while there is no complete table.
function liveGeneration(table) {
    const mark = table.get('m');
    const complete = mark !== undefined && mark.length === 66 && (mark[0] === 'a' || mark[0] === 'b') && mark[1] === ' ';
    return complete ? mark[0] : '';
}

// `<depth> <server>` of a host on a listener, or undefined: its own record, else that of its wildcard.
function findServer(table, generation, listener, host) {
    const found = table.get(generation + 'h' + listener + ' ' + host);
    if (found !== undefined) {
        return found;
    }
    const dot = host.indexOf('.');
    return dot > 0 ? table.get(generation + 'h' + listener + ' *' + host.substring(dot)) : undefined;
}

// The record of a path, and how long the prefix is that a new one replaces: -1 for an exact path. Null without one.
//
// No more elements of the path are looked at than the server's longest prefix has, however long the path is.
function findPath(table, generation, found, path) {
    const blank = found.indexOf(' ');
    const server = found.substring(blank + 1);
    const exact = table.get(generation + '=' + server + path);
    if (exact !== undefined) {
        return {record: exact, prefix: -1, path: path};
    }
    const stem = generation + '^' + server;
    let end = 0;
    for (let left = path === '/' ? 0 : Number(found.substring(0, blank)); left > 0 && end < path.length; left--) {
        const slash = path.indexOf('/', end + 1);
        end = slash === -1 ? path.length : slash;
    }
    while (end > 0) {
        const prefix = path.substring(0, end);
        const record = table.get(stem + prefix);
        if (record !== undefined) {
            return {record: record, prefix: end, path: prefix};
        }
        end = path.lastIndexOf('/', end - 1);
    }
    const all = table.get(stem + '/');
    return all === undefined ? null : {record: all, prefix: 0, path: '/'};
}

// The endpoints of a group; one without a record has none.
function findGroup(table, generation, name, weight) {
    const text = table.get(generation + 'e' + name) || '0 0 0\n';
    const end = text.indexOf('\n');
    const head = text.substring(0, end).split(' ');
    return {
        name: name,
        weight: weight,
        ready: Number(head[0]),
        all: Number(head[0]) + Number(head[1]),
        width: Number(head[2]),
        text: text,
        start: end + 1,
    };
}

// A dollar sign alone would match before a line feed at the end, too, in njs.
const ID_LENGTH = 8;
const ENDPOINT_ID = /^[0-9a-f]{8}$(?!\n)/;

function idOf(group, number) {
    const at = group.start + number * group.width;
    return group.text.substring(at, at + ID_LENGTH);
}

function addressOf(group, number) {
    const at = group.start + number * group.width;
    return group.text.substring(at + ID_LENGTH, at + group.width).trimEnd();
}

// An address and a port: the first thing that nginx connects to is never a name or a socket of its own.
const ADDRESS = /^(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-f:.]{2,45}\]):[0-9]{1,5}$(?!\n)/;

// How many sockets each endpoint has, over all workers, and which endpoints refuse connections.
//
// `t<endpoint>` is what all workers together hold, `p<pid> <endpoint>` the part of one of them. A worker that is killed
// can't take its part back: the others do, once the process is gone. One that only shuts down still holds its sockets.

// All keys of a dictionary: without a number there are at most 1,024.
const MANY = 1 << 24;

function liveSockets(counts, endpoint) {
    return Math.max(0, counts.get('t' + endpoint) || 0);
}

// One socket more; false when the dictionary is full, and then it must not be taken back.
function countSocket(endpoint) {
    const counts = ngx.shared.wsroute_sockets;
    const own = 'p' + process.pid + ' ' + endpoint;
    try {
        if (counts.incr(own, 1, 0) === 1) {
            registerWorker(ngx.shared.wsroute_workers, String(process.pid));
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

function uncountSocket(endpoint) {
    const counts = ngx.shared.wsroute_sockets;
    const own = 'p' + process.pid + ' ' + endpoint;
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

// Which endpoint a socket goes to.

// Up to so many endpoints all are compared; beyond that two that are drawn (the power of two choices).
const COMPARED = 4;

// The endpoint for a request, as `address:port`, or nothing. `failed` is one that has just refused this request.
//
// One that was ejected gets a request only where there is no other.
function chooseEndpoint(r, table, generation, record, place, failed) {
    if (record.t.length === 1 && record.b.p === 'L' && record.k === undefined) {
        const group = table.get(generation + 'e' + record.t[0][0]);
        const address = group === undefined ? '' : fewestSockets(group, failed, r.variables.connection);
        if (address !== '') {
            return ADDRESS.test(address) ? address : '';
        }
    }
    const groups = [];
    let ready = 0;
    for (let i = 0; i < record.t.length; i++) {
        const group = findGroup(table, generation, record.t[i][0], record.t[i][1]);
        groups.push(group);
        ready += group.ready;
    }
    if (ready === 0) {
        return '';
    }
    const ejected = ngx.shared.wsroute_ejected;
    const now = Date.now();
    const healthy = (address) => address !== failed && !isEjected(ejected, address, now);
    const chosen = byCookie(r, record, groups, healthy) || byPolicy(r, record, groups, place, healthy)
        || byPolicy(r, record, groups, place, (address) => address !== failed);
    if (chosen === null || !ADDRESS.test(chosen.address)) {
        return '';
    }
    if (record.k !== undefined) {
        setCookie(r, record.k, place.path, chosen.id);
    }
    return chosen.address;
}

// What nearly all routes want, without an object or a closure: the endpoint of one group that has fewest sockets. Nothing
// when that one was ejected, or when there is none. `connection` numbers connections and stands for chance: Math.random
// prepares a generator of its own in each request's machine, which costs more than all of this.
function fewestSockets(text, failed, connection) {
    const end = text.indexOf('\n');
    const blank = text.indexOf(' ');
    const ready = Number(text.substring(0, blank));
    const width = Number(text.substring(text.indexOf(' ', blank + 1) + 1, end));
    const counts = ngx.shared.wsroute_sockets;
    const drawn = ready > COMPARED;
    let chance = Math.imul(connection, 0x9e3779b1);
    let number = drawn ? (chance >>> 8) % ready : 0;
    let best = '';
    let least = Infinity;
    let equals = 0;
    for (let left = drawn ? 2 : ready; left > 0; left--) {
        const at = end + 1 + width * number;
        const padded = text.substring(at + ID_LENGTH, at + width);
        const address = padded[padded.length - 1] === ' ' ? padded.trimEnd() : padded;
        chance = Math.imul(chance, 0x41c64e6d) + 0x3039 | 0;
        number = drawn ? (number + 1 + (chance >>> 8) % (ready - 1)) % ready : number + 1;
        if (address !== failed) {
            const load = liveSockets(counts, address);
            if (load < least) {
                best = address;
                least = load;
                equals = 1;
            } else if (load === least && (chance >>> 8) % ++equals === 0) {
                best = address;
            }
        }
    }
    return best === '' || ngx.shared.wsroute_ejected.get(best) !== undefined ? '' : best;
}

function endpointOf(group, number) {
    return {address: addressOf(group, number), id: idOf(group, number)};
}

// The endpoint that the client's cookie names: one that takes all clients, or else one that takes nobody else any more.
function byCookie(r, record, groups, usable) {
    const id = record.k === undefined ? undefined : r.variables['cookie_' + record.k.n];
    if (id === undefined || !ENDPOINT_ID.test(id)) {
        return null;
    }
    return withId(groups, id, usable, false) || withId(groups, id, usable, true);
}

function withId(groups, id, usable, returning) {
    for (let i = 0; i < groups.length; i++) {
        const end = returning ? groups[i].all : groups[i].ready;
        for (let number = returning ? groups[i].ready : 0; number < end; number++) {
            if (idOf(groups[i], number) === id && usable(addressOf(groups[i], number))) {
                return endpointOf(groups[i], number);
            }
        }
    }
    return null;
}

// A cookie with an age counts it from the last socket; one of the browser's session is sent where it is another one.
function setCookie(r, sticky, path, id) {
    const scope = /^[-A-Za-z0-9._~/]*$/.test(path) ? path : '/';
    const age = sticky.a > 0 ? '; Max-Age=' + sticky.a : '';
    const secure = r.variables.wsroute_public_scheme === 'https' ? '; Secure' : '';
    const known = age === '' && r.variables['cookie_' + sticky.n] === id;
    r.variables.wsroute_cookie = known ? '' : sticky.n + '=' + id + '; Path=' + scope + age + '; HttpOnly' + secure;
}

// By the route's policy among the endpoints that are ready and usable, or null without one.
function byPolicy(r, record, groups, place, usable) {
    const policy = record.b.p;
    const key = policy === 'H' ? hashedText(r, record.b) : '';
    if (key !== '') {
        return byHash(groups, key, usable);
    }
    const ready = groups.filter((group) => group.ready > 0);
    return policy === 'R' ? inTurn(ready, place, usable) : leastConnections(ready, usable);
}

function totalWeight(groups) {
    return groups.reduce((sum, group) => sum + group.weight, 0);
}

// The group in whose share a number from 0 to the total weight lies.
function atWeight(groups, number) {
    let left = number;
    for (let i = 0; i < groups.length; i++) {
        if (left < groups[i].weight) {
            return {group: groups[i], rest: left};
        }
        left -= groups[i].weight;
    }
    return {group: groups[groups.length - 1], rest: 0};
}

// The endpoint with fewest sockets for its weight; between equals, chance by their weights.
function leastConnections(groups, usable) {
    const counts = ngx.shared.wsroute_sockets;
    let best = null;
    let least = Infinity;
    let equals = 0;      // their weight
    function consider(group, number) {
        const address = addressOf(group, number);
        if (best !== null && best.address === address || !usable(address)) {
            return false;
        }
        const weight = group.weight / group.ready;
        const load = liveSockets(counts, address) / weight;
        equals = load === least ? equals + weight : weight;
        if (load < least || load === least && Math.random() * equals < weight) {
            best = {address: address, id: idOf(group, number)};
            least = load;
        }
        return true;
    }
    const number = groups.reduce((sum, group) => sum + group.ready, 0);
    if (number > COMPARED) {
        let considered = 0;
        const total = totalWeight(groups);
        for (let draws = 0; draws < 2 * COMPARED && considered < 2; draws++) {
            const group = atWeight(groups, Math.random() * total).group;
            considered += consider(group, Math.floor(Math.random() * group.ready));
        }
        if (considered > 0) {
            return best;
        }
    }
    for (let i = 0; i < groups.length; i++) {
        for (let other = 0; other < groups[i].ready; other++) {
            consider(groups[i], other);
        }
    }
    return best;
}

// One after the other, in exact shares: each run of as many turns as the weights add up to gives every group its weight.
function inTurn(groups, place, usable) {
    const total = totalWeight(groups);
    const step = coprimeStep(total);
    let tries = groups.reduce((sum, group) => sum + group.ready, 0);
    for (tries = Math.max(tries, total); tries > 0; tries--) {
        const turn = nextTurn(place.key);
        const round = Math.floor(turn / total);
        // Not the heaviest first and then the others, but mixed.
        const found = atWeight(groups, turn % total * step % total);
        const number = (round * found.group.weight + found.rest) % found.group.ready;
        if (usable(addressOf(found.group, number))) {
            return endpointOf(found.group, number);
        }
    }
    return null;
}

function nextTurn(key) {
    try {
        return ngx.shared.wsroute_turns.incr(key, 1, -1);
    } catch (_) {
        return Math.floor(Math.random() * MANY);
    }
}

function coprimeStep(total) {
    let step = Math.max(1, Math.floor(total * 0.618));
    while (commonDivisor(step, total) !== 1) {
        step++;
    }
    return step;
}

function commonDivisor(a, b) {
    return b === 0 ? a : commonDivisor(b, a % b);
}

// What a policy Hash looks at, or nothing when the request does not have it.
function hashedText(r, balancing) {
    switch (balancing.on) {
    case 'H':
        return r.headersIn[balancing.n] || '';
    case 'Q':
        return r.variables['arg_' + balancing.n] || '';
    case 'C':
        return r.variables['cookie_' + balancing.n] || '';
    default:
        return r.remoteAddress;
    }
}

// First a group by the weights, then in it the endpoint with the highest score for this key (rendezvous hashing): one
// endpoint more takes its share from all.
//
// The weights of all groups come first, so that the keys of a group stay with it when another one loses its endpoints.
function byHash(groups, key, usable) {
    const hash = parseInt(crypto.createHash('sha256').update(key).digest('hex').substring(0, ID_LENGTH), 16);
    const first = bestOf(groupByHash(groups, hash), hash, usable);
    if (first !== null) {
        return first;
    }
    const others = groups.filter((group) => bestOf(group, hash, usable) !== null);
    return others.length === 0 ? null : bestOf(groupByHash(others, hash), hash, usable);
}

function groupByHash(groups, hash) {
    return atWeight(groups, Math.floor(mixed(hash) * totalWeight(groups) / 4294967296)).group;
}

function bestOf(group, hash, usable) {
    let best = null;
    let highest = -1;
    for (let number = 0; number < group.ready; number++) {
        const score = mixed(hash ^ parseInt(idOf(group, number), 16));
        if (score > highest && usable(addressOf(group, number))) {
            best = number;
            highest = score;
        }
    }
    return best === null ? null : endpointOf(group, best);
}

// The finalizer of MurmurHash3: each bit of the input changes half of the output's.
function mixed(number) {
    let hash = number | 0;
    hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
    hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
    return (hash ^ hash >>> 16) >>> 0;
}

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
        return '@wsroute_unknown_host';
    }
    const place = findPath(table, generation, server, r.uri);
    if (place === null) {
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
    if (variables.wsroute_upgrade === 'websocket') {
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
    goTo(variables, endpoint);
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

function goTo(variables, endpoint) {
    variables.wsroute_endpoint = endpoint;
    variables.wsroute_uncounted = countSocket(endpoint) ? '' : '1';
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
    }
    // What an endpoint has begun to read it may have acted upon: only what is safe is sent a second time.
    const repeatable = unconnected || r.method === 'GET' || r.method === 'HEAD';
    const location = repeatable && variables.wsroute_retried === '' ? another(r, failed) : '';
    variables.wsroute_retried = '1';
    if (location === '') {
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
    goTo(r.variables, endpoint);
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
    return '';
}

function admin() {
// The admin socket: how the agent writes the table and reads what is served. Nothing is taken from it unchecked.

const LONGEST_KEY = 2048;
const LARGEST_VALUE = 256 * 1024;
const MOST_OPERATIONS = 2000;
const MOST_CLEARED = 2000;
const MOST_LISTED = 1000;
// A node of the dictionary, and what is lost when the allocator rounds up; bytes.
const OVERHEAD = 160;
// What stays free for the next change's values, which are written before the old ones are given back.
const RESERVE = 256 * 1024;

const MARK = /^[0-9a-f]{64}$(?!\n)/;
const HOST_KEY = /^h[a-z0-9-]{1,63} [*a-z0-9.-]{1,255}$(?!\n)/;
const PATH_KEY = /^[=^][^\/\x00-\x1f\x7f]{1,1500}\//;
const GROUP_KEY = /^e[^\x00-\x1f\x7f]{1,400}$(?!\n)/;
const HOST_VALUE = /^[0-9]{1,4} [^\x00-\x20\x7f]{1,1500}$(?!\n)/;
const GROUP_HEAD = /^(0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]?)$(?!\n)/;

function answer(r, status, value) {
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
    answer(r, 200, {
        format: 1,
        live: live,
        mark: live === '' ? '' : table.get('m').substring(2),
        free: table.freeSpace(),
        capacity: table.capacity,
        entries: table.size() - (live === '' ? 0 : 1),
    });
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

// Read the entries of the generation that is served, or write those of one that is not served yet.
function entries(r) {
    return r.method === 'GET' ? list(r) : fill(r);
}

function fill(r) {
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
    answer(r, 200, {cleared: cleared, left: left});
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
    } catch (error) {
        fail(r, 500, 'the dictionary is full after a part of this: ' + error.name);
        return false;
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
    if (key.length > LONGEST_KEY || !(HOST_KEY.test(key) || PATH_KEY.test(key) || GROUP_KEY.test(key))) {
        return 'a key must be one of a host, a path or a group';
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
    default:
        return isRecord(readRecord(value));
    }
}

function isGroup(value) {
    const end = value.indexOf('\n');
    const head = GROUP_HEAD.exec(value.substring(0, Math.max(0, end)));
    if (head === null) {
        return false;
    }
    const number = Number(head[1]) + Number(head[2]);
    const width = Number(head[3]);
    const group = {text: value, start: end + 1, width: width};
    if (value.length !== end + 1 + number * width || number > 0 && width === 0) {
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

// In the order of the keys and a page at a time, for people to read.
function list(r) {
    const table = ngx.shared.wsroute;
    const live = liveGeneration(table);
    const limit = Math.min(MOST_LISTED, Math.max(1, Number(r.args.limit) || MOST_LISTED));
    const after = r.args.after === undefined ? '' : r.args.after;
    const keys = live === '' ? [] : table.keys(MANY).filter((key) => key[0] === live && key.substring(1) > after);
    keys.sort();
    const page = [];
    for (let i = 0; i < keys.length && page.length < limit; i++) {
        const value = table.get(keys[i]);
        if (value !== undefined) {
            page.push([keys[i].substring(1), value]);
        }
    }
    answer(r, 200, page);
}

// How many sockets the endpoints have.
function sockets(r) {
    const counts = ngx.shared.wsroute_sockets;
    const found = {};
    counts.keys(MANY).forEach((key) => {
        const number = key[0] === 't' ? liveSockets(counts, key.substring(1)) : 0;
        if (number > 0) {
            found[key.substring(1)] = number;
        }
    });
    answer(r, 200, found);
}

return {ready, describe, change, entries, flip, clear, sockets};
}

export default {
    decide, retry, release, repairCounts,
    ready: (r) => admin().ready(r),
    describe: (r) => admin().describe(r),
    change: (r) => admin().change(r),
    entries: (r) => admin().entries(r),
    flip: (r) => admin().flip(r),
    clear: (r) => admin().clear(r),
    sockets: (r) => admin().sockets(r),
};
