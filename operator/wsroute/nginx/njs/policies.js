// The endpoint for a request by any policy, among any groups.
// One that was ejected gets a request only where there is no other.
function choose(r, asked, table, generation, record, server, place, failed) {
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
    const turns = server + place.path;
    const healthy = (address) => address !== failed && !isEjected(ejected, address, now);
    const chosen = byCookie(r, record, groups, healthy) || byPolicy(r, asked, record, groups, turns, healthy)
        || byPolicy(r, asked, record, groups, turns, (address) => address !== failed);
    if (chosen === null || !ADDRESS.test(chosen.address)) {
        return '';
    }
    if (record.k !== undefined) {
        setCookie(r, asked, record.k, place.path, chosen.id);
    }
    return chosen.address;
}

function endpointOf(group, number) {
    return {address: addressOf(group, number), id: idOf(group, number)};
}

// The endpoint that the client's cookie names, also one that takes nobody else any more.
function byCookie(r, record, groups, usable) {
    const id = record.k === undefined ? undefined : r.variables['cookie_' + record.k.n];
    if (id === undefined) {
        return null;
    }
    for (let i = 0; i < groups.length; i++) {
        for (let number = 0; number < groups[i].all; number++) {
            if (idOf(groups[i], number) === id && usable(addressOf(groups[i], number))) {
                return endpointOf(groups[i], number);
            }
        }
    }
    return null;
}

// A cookie with an age counts it from the last socket; one of the browser's session is sent where it is another one.
function setCookie(r, asked, sticky, path, id) {
    const scope = /^[-A-Za-z0-9._~/]*$/.test(path) ? path : '/';
    const age = sticky.a > 0 ? '; Max-Age=' + sticky.a : '';
    const secure = asked[SCHEME] === 'https' ? '; Secure' : '';
    const known = age === '' && r.variables['cookie_' + sticky.n] === id;
    r.variables.wsroute_cookie = known ? '' : sticky.n + '=' + id + '; Path=' + scope + age + '; HttpOnly' + secure;
}

// By the route's policy among the endpoints that are ready and usable, or null without one.
function byPolicy(r, asked, record, groups, turns, usable) {
    const policy = record.b.p;
    const key = policy === 'H' ? hashedText(r, asked, record.b) : '';
    if (key !== '') {
        return byHash(groups, key, usable);
    }
    const ready = groups.filter((group) => group.ready > 0);
    return policy === 'R' ? inTurn(ready, turns, usable) : leastConnections(ready, usable);
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
// The turn of one that is not usable is another one's of its group, or else of any group, by chance.
function inTurn(groups, turns, usable) {
    const total = totalWeight(groups);
    const turn = nextTurn(turns);
    // Not the heaviest first and then the others, but mixed.
    const found = atWeight(groups, turn % total * coprimeStep(total) % total);
    const number = (Math.floor(turn / total) * found.group.weight + found.rest) % found.group.ready;
    if (usable(addressOf(found.group, number))) {
        return endpointOf(found.group, number);
    }
    return byChance([found.group], usable) || byChance(groups, usable);
}

function byChance(groups, usable) {
    const others = groups.filter((group) => hasAny(group, usable));
    if (others.length === 0) {
        return null;
    }
    const group = atWeight(others, Math.random() * totalWeight(others)).group;
    const numbers = [];
    for (let number = 0; number < group.ready; number++) {
        if (usable(addressOf(group, number))) {
            numbers.push(number);
        }
    }
    return endpointOf(group, numbers[Math.floor(Math.random() * numbers.length)]);
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
function hashedText(r, asked, balancing) {
    switch (balancing.on) {
    case 'H':
        return r.headersIn[balancing.n] || '';
    case 'Q':
        return r.variables['arg_' + balancing.n] || '';
    case 'C':
        return r.variables['cookie_' + balancing.n] || '';
    default:
        return asked[CLIENT];
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
    const others = groups.filter((group) => hasAny(group, usable));
    return others.length === 0 ? null : bestOf(groupByHash(others, hash), hash, usable);
}

function groupByHash(groups, hash) {
    return atWeight(groups, Math.floor(mixed(hash) * totalWeight(groups) / 4294967296)).group;
}

function hasAny(group, usable) {
    for (let number = 0; number < group.ready; number++) {
        if (usable(addressOf(group, number))) {
            return true;
        }
    }
    return false;
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
