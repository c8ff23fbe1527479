package vsession

// Server is what is known of the state of a server connection between two sessions that use it: recorded when one gives the
// connection back without resetting it, and compared with what the next one needs. The zero Server is a connection as it was opened.
type Server struct {
	Owner uint64 // the session that used it last; 0 is nobody
	Print uint64 // fingerprint of the settings in force, see [Journal.Print]; 0: those it was opened with
	Mark  Mark   // how far it has followed Owner's journal

	// Temp: sessions have had temporary objects here. They are gone, their schema is not, nor can temp_buffers be changed any more.
	Temp bool

	Statements Statements
}

// Foreign is the Print of settings that no fingerprint stands for.
const Foreign = ^uint64(0)
