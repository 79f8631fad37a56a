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
