package meter

// Sessions is how many sessions of a database are in a state. Database is "" while the client has not logged in: what it says of itself
// until then counts for nothing.
type Sessions struct {
	Database string
	State    string
	N        int
}

// Reading is what all loops have counted.
type Reading struct {
	Total Loop // all loops added up; of a loop that did not answer what it said last
	Loops []Turning

	Sessions []Sessions // of the loops that answered
	Pinned   [Bits]int  // sessions that keep their connection now, by bit

	Reasons []string // what the codes of Node.Routes mean; "" is no reason
	Pins    []string // what the bits of Pins mean
	Limits  Limits
}

// Limits are bounds on what clients may use, and how much of that is used.
type Limits struct {
	Clients, MaxClients int // places for sessions that keep their connections
	Shared, MaxShared   int // for those that share them
	HeldSessions        int
	HeldBytes           int64
}

// Turning is how a loop is. A loop that has not answered is held up by something: its numbers are old.
type Turning struct {
	ID       int
	Answered bool
	Tasks    int
}
