// The table of the Dynamic data plane: reading it (the forms are those of dataplane/dictionary.py).
//
// The files of this folder are joined to one module, because one file travels to the pods. They are written for njs's
// own engine: nginx clones its machine for each request, so nothing can be kept between two requests but in
// dictionaries. A constant must stand before the functions that use it.

// Hex digits of an endpoint's id, which stands before its address.
const ID_LENGTH = 8;

// The letter of the generation that is served, or nothing while there is no complete table.
function liveGeneration(table) {
    const mark = table.get('m');
    const complete = mark !== undefined && mark.length === 66 && (mark[0] === 'a' || mark[0] === 'b') && mark[1] === ' ';
    return complete ? mark[0] : '';
}
