// Before the body of a request is there: if it is refused, it is refused now.

// The named location in which it is, or the one in which it begins its hop, which decides for good. What the client says
// in our own headers is not looked at.
function judgeNow(r) {
    const variables = r.variables;
    const asked = ('whole ' + variables.wsroute_asked).split(' ');
    const place = decideFirst(r, asked, variables.wsroute_handshake);
    return place.replace(/^@wsroute_(?=(?:400|403|426|503)$)/, '@wsroute_judged_');
}

function admit(r, asked, table, generation, record, server, place) {
    const isEmpty = record.t.every((target) => (table.get(generation + 'e' + target[0]) || '0 ').startsWith('0 '));
    if (isEmpty) {
        return refuse(r.variables, 503, 'no-endpoints');
    }
    return needsMore(asked, record, place) ? '@wsroute_whole' : '@wsroute_not_refused';
}
