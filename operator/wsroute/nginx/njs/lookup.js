// Where a request is found in the table.

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
