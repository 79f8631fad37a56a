// The record of a path, or null when it is none.
function readRecord(text) {
    try {
        return JSON.parse(text);
    } catch (_) {
        return null;
    }
}
