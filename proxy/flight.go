package proxy

// flight is what the client has sent last: a message, or the messages of a batch up to its Sync.
type flight struct {
	at      int // where it begins in the client's buffer
	message int // and where the message begins that is dealt with now
}
