// At the end of a request that went to an endpoint. It writes nothing to a log.
function release(r) {
    const variables = r.variables;
    const pid = process.pid;
    const route = variables.wsroute_route;
    if (variables.wsroute_uncounted === '') {
        uncountSocket(pid, variables.wsroute_endpoint);
    }
    forgetSocket(pid, variables.connection, route);
    const status = variables.status;
    // What became of a handshake that is no open socket.
    if (status !== '101' && variables.wsroute_upgrade === 'websocket' && variables.wsroute_refusal === '') {
        countRequest(status === '499' ? 'client-closed' : 'backend-answer', route);
    }
    return '';
}
