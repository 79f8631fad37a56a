// What is not as in most cases: where to go on then, and with what.

// Which of the headers that routes may change are other ones than the client's: `=` and the value, or this for none.
const REMOVED = '-';

function goOn(r, asked, record, place) {
    setHeaders(r, asked, record);
    const variables = r.variables;
    const location = timeoutClass(asked, record);
    variables.wsroute_class = location;
    variables.wsroute_next = location;
    if (record.p !== undefined) {
        variables.wsroute_next = '@wsroute_rewrite';
        variables.wsroute_prefix = place.prefix === 0 ? '' : place.path;
        variables.wsroute_begin = place.prefix < 0 ? record.p : record.p.replace(/\/+$/, '');
    }
    return '@wsroute_other';
}

function setHeaders(r, asked, record) {
    const changed = record.s !== undefined || record.d !== undefined;
    if (asked[NAMES] === undefined || !changed && !hasOddNames(asked)) {
        return;
    }
    const names = asked[NAMES].split(',');
    for (let i = 0; i < names.length; i++) {
        const value = record.s === undefined ? undefined : record.s[names[i]];
        if (value !== undefined) {
            r.variables['wsroute_set_' + i] = '=' + value;
        } else if (record.d !== undefined && record.d.includes(names[i])) {
            r.variables['wsroute_set_' + i] = REMOVED;
        } else if (names[i].includes('.') && r.headersIn[names[i]] !== undefined) {
            // nginx's language has no variable for such a header.
            r.variables['wsroute_set_' + i] = '=' + r.headersIn[names[i]];
        }
    }
}

// The location with the smallest timeouts that are not below a route's, of those that the asking nginx.conf has.
function timeoutClass(asked, record) {
    if (record.c === USUAL_CONNECT && record.i === USUAL_IDLE) {
        return USUAL;
    }
    return '@wsroute_' + bucket(asked[CONNECT], record.c) + '_' + bucket(asked[IDLE], record.i);
}

function bucket(buckets, milliseconds) {
    const all = buckets.split(',');
    return all.find((each) => Number(each) >= milliseconds) || all[all.length - 1];
}
