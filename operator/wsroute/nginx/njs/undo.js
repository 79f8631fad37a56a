// The request that asked has not heard the decision: its worker is gone, or waited in vain.
function takeBack(r) {
    const endpoint = r.variables.wsroute_endpoint;
    if (endpoint !== '') {
        const asked = readAsked(r);
        const pid = asked[PID];
        const failure = r.headersIn['X-WSRoute-Failed'] === undefined ? null : readFailure(r);
        const route = r.variables.wsroute_route;
        forgetSocket(pid, asked[CONNECTION], route);
        if (r.variables.wsroute_uncounted === '') {
            uncountSocket(pid, endpoint);
        }
        if (failure !== null) {
            noteSocket(pid, asked[CONNECTION], asked[CLIENT], failure.endpoint, failure.route, failure.route);
            if (failure.uncounted === '') {
                countSocket(pid, failure.endpoint);
            }
        }
    }
    return '';
}
