// Which endpoint a socket goes to.

// Up to so many endpoints all are compared; beyond that two that are drawn (the power of two choices).
const COMPARED = 4;

// The endpoint for a request, as `address:port`, or nothing. `failed` is one that has just refused this request.
function chooseEndpoint(r, asked, table, generation, record, server, place, failed) {
    if (record.t.length === 1 && record.b.p === 'L' && record.k === undefined) {
        const group = table.get(generation + 'e' + record.t[0][0]);
        const address = group === undefined ? '' : fewestSockets(group, failed, asked[CONNECTION]);
        if (address !== '') {
            return isNumeric(address) ? address : '';
        }
    }
    return policies().choose(r, asked, table, generation, record, server, place, failed);
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
    const chance = Math.imul(connection, 0x9e3779b1) >>> 8;
    let number = drawn ? chance % ready : 0;
    let best = '';
    let least = Infinity;
    let equals = 0;
    for (let left = drawn ? 2 : ready; left > 0; left--) {
        const at = end + 1 + width * number + ID_LENGTH;
        const address = text.substring(at, at + width - ID_LENGTH).trimEnd();
        number = drawn ? (number + 1 + (chance >>> 4) % (ready - 1)) % ready : number + 1;
        if (address === failed) {
            continue;
        }
        const load = counts.get('t' + address) || 0;
        if (load < least) {
            best = address;
            least = load;
            equals = 1;
        } else if (load === least) {
            best = (chance >>> 16 + equals) % (equals + 1) === 0 ? address : best;
            equals++;
        }
    }
    return best === '' || ngx.shared.wsroute_ejected.get(best) !== undefined ? '' : best;
}

// nginx connects to no name and to no socket of its own. The whole form was looked at when the address was pushed: a
// regular expression would take 20 KiB at each handshake.
function isNumeric(address) {
    const first = address.charCodeAt(0);
    return first >= 0x30 && first <= 0x39 || address[0] === '[';
}
