package wire

// Unpack is unpack: the quick reading of a datagram's protobuf.
var Unpack = unpack
