// Package wirescript runs scripts of PostgreSQL protocol messages against a server and writes down what came back, so that the
// same script can be run straight against PostgreSQL and through a proxy and the two transcripts compared.
//
// It owns the form of the scripts, a client that sends exactly the messages a script names in the order it names them (libpq
// would refuse most of what is interesting), the transcript, and the list of differences that are allowed ([Differences]).
// Which targets there are is the caller's business.
//
// # Scripts
//
// One step a line; a line that begins with white space continues the one before; # begins a comment line. A step may begin with
// the name of a connection and a colon; without it is connection a. A connection that was not opened by a step is opened and
// logged in at its first use. Messages are gathered and written when an answer is awaited.
//
//	setup SQL                  run on the primary before anything else, in the target's database, not through it
//	allow NAME                 permits an optional difference for this script
//	open                       connects without a word
//	ssl, gss                   the two negotiation requests; the answering byte is read
//	startup [3.2] [key=value]  startup packet; user and database are filled in
//	connect [3.2] [key=value]  open, startup, and everything up to ReadyForQuery
//	query SQL
//	parse NAME[(type,...)] SQL   - is the unnamed statement; types are numbers or common names
//	bind PORTAL NAME [value ...] [-> 1]   values: bare, 'quoted', NULL, x'hex' (binary); -> formats of results
//	describe S|P NAME
//	execute PORTAL [rows]
//	close S|P NAME
//	flush, sync, terminate, copydone
//	copydata "text", copyfail "text"   with the escapes of Go
//	call OID [value ...]       FunctionCall
//	message X "body"           any message; raw "bytes": anything
//	cancel                     sends a CancelRequest for the connection and waits until it was taken
//	wait SQL                   polls the servers until one of them answers t
//	send                       writes what is gathered
//	< T[=text] ...             reads until each of these messages has come, in this order; others are written down as they pass,
//	                           but a ReadyForQuery that is not named is an error. T is the letter of the protocol or EOF; text
//	                           must be part of the line the message makes in the transcript. Text with blanks stands between
//	                           quotation marks
//
//	<< T ...                   the same, but whatever comes is passed over until the first has come
//
// {x*1000} in a step stands for 1000 times x, {pid:b} for the process number connection b was told.
package wirescript
