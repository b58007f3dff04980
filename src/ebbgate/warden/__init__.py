"""The supervisor: arms the enclosure, starts the gate, attributes sockets, keeps the journal. Parses no network bytes."""
