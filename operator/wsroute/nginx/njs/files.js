// The names of a certificate's file, or of two: each is a hash of the content.
const FILES = /^[0-9a-f]{64}(?: [0-9a-f]{64})?$(?!\n)/;
