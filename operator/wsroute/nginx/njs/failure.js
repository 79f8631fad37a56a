// What the hop is told of an endpoint that gave no answer.
function readFailure(r) {
    const words = r.headersIn['X-WSRoute-Failed'].split('|');
    return {
        tries: words[0].length,
        route: words[1],
        endpoint: words[2],
        uncounted: words[3],
        statuses: words[4],
        connects: words[5],
    };
}
