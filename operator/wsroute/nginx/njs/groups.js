// The endpoints of a group.

function idOf(group, number) {
    const at = group.start + number * group.width;
    return group.text.substring(at, at + ID_LENGTH);
}

function addressOf(group, number) {
    const at = group.start + number * group.width;
    return group.text.substring(at + ID_LENGTH, at + group.width).trimEnd();
}

// An address and a port: the first thing that nginx connects to is never a name or a socket of its own. A dollar sign
// alone would match before a line feed at the end, too, in njs.
const ADDRESS = /^(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-f:.]{2,45}\]):[0-9]{1,5}$(?!\n)/;

// Is an endpoint set aside?
function isEjected(ejected, endpoint, now) {
    const found = ejected.get(endpoint);
    return found !== undefined && Number(found.substring(0, found.indexOf(' '))) > now;
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
