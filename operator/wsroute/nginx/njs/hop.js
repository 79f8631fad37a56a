// What one request gets: the whole decision is made here, once, in the hop that the request takes.

const USUAL = '@wsroute_usual';
const USUAL_CONNECT = 5000;
const USUAL_IDLE = 3600000;

// The named location in which the request goes on. It is one that every version of nginx.conf has: when nginx reloads, an
// older worker may be asking.
function decideNow(r) {
    const asked = readAsked(r);
    return r.headersIn['X-WSRoute-Failed'] === undefined
        ? decideFirst(r, asked, r.headersIn['X-WSRoute-Handshake']) : retry().goOn(r, asked);
}

function admit(r, asked, table, generation, record, server, place, permitted) {
    const variables = r.variables;
    const endpoint = chooseEndpoint(r, asked, table, generation, record, server, place, '');
    if (endpoint === '') {
        return refuse(variables, 503, 'no-endpoints');
    }
    const called = countRequest(asked[UPGRADE] === 'websocket' ? 'forwarded' : 'plain', record.r);
    const counted = goTo(variables, asked, endpoint, record.r, called);
    const isUsual = permitted && counted && record.i === USUAL_IDLE && record.c === USUAL_CONNECT
        && record.p === undefined && record.s === undefined && record.d === undefined && record.k === undefined
        && !hasOddNames(asked);
    return isUsual ? USUAL : other().goOn(r, asked, record, place);
}

function goTo(variables, asked, endpoint, route, called) {
    const counted = countSocket(asked[PID], endpoint);
    noteSocket(asked[PID], asked[CONNECTION], asked[CLIENT], endpoint, route, called);
    variables.wsroute_endpoint = endpoint;
    if (!counted) {
        variables.wsroute_uncounted = '1';
    }
    return counted;
}
