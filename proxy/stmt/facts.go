package stmt

// Kind is the kind of a statement. Of a string with several statements it is the kind of the first.
type Kind uint8

// Statement kinds. KindOther is everything that has no rule of its own (mostly DDL).
const (
	KindUnparsed Kind = iota // the grammar does not know it, or it was not shown to the grammar (size, nesting)
	KindEmpty                // blank, comment only, or just semicolons
	KindSelect               // SELECT, VALUES, TABLE, WITH ... SELECT
	KindInsert
	KindUpdate
	KindDelete
	KindMerge
	KindCopyFrom
	KindCopyTo
	KindBegin
	KindCommit
	KindRollback
	KindSavepoint
	KindRollbackTo
	KindRelease
	KindPrepareTransaction
	KindCommitPrepared
	KindRollbackPrepared
	KindSet   // SET, SET LOCAL, SET TRANSACTION, SET SESSION CHARACTERISTICS
	KindReset // RESET name, RESET ALL
	KindDiscard
	KindPrepare
	KindExecute
	KindDeallocate
	KindShow
	KindExplain
	KindLock
	KindDeclareCursor
	KindFetch
	KindClosePortal
	KindListen
	KindNotify
	KindUnlisten
	KindCall
	KindDo
	KindVacuum // VACUUM, ANALYZE
	KindLoad
	KindCheckpoint
	KindOther
	KindPool // SHOW pool_*, PGPOOL ...: answered by the proxy itself, see Facts.Pool
)

// Class is the first step of the routing decision (query-routing section 6): which group of nodes a statement of this
// kind belongs to before anything about the session is known.
type Class uint8

// Classes of destination.
const (
	ClassPrimary  Class = iota
	ClassEither         // the primary or the load balance node
	ClassBoth           // all nodes the session uses
	ClassPrepared       // where the statement named Facts.Name was prepared (EXECUTE, DEALLOCATE name)
)

// Counter is the column of SHOW pool_backend_stats the statement counts in.
type Counter uint8

// Columns of SHOW pool_backend_stats.
const (
	CountOther Counter = iota
	CountSelect
	CountInsert
	CountUpdate
	CountDelete
	CountDDL
)

// Name is a possibly qualified name as written, after SQL case folding and without quotes.
type Name struct {
	Schema string // empty if not given
	Name   string
}

// Setting is what a SET, RESET or simple set_config() call does.
type Setting struct {
	Name  string // folded to lower case; "" with All
	Value string // first argument as text, "" with Default
	// Values are all arguments, of SET search_path TO a, b and the like.
	Values []string
	// Default is SET x TO DEFAULT or RESET x; All is RESET ALL; Local is SET LOCAL.
	Default, All, Local bool
	// Transaction is SET TRANSACTION, Characteristics SET SESSION CHARACTERISTICS AS TRANSACTION; then Modes counts.
	Transaction, Characteristics bool
}

// Signal is a call of pg_cancel_backend or pg_terminate_backend.
type Signal struct {
	Terminate bool
	PID       int32 // 0 if it is not a constant
	Param     int   // number of the parameter that is the pid, 0 if it is none
}

// TxModes are the transaction modes of BEGIN, SET TRANSACTION and SET SESSION CHARACTERISTICS.
type TxModes struct {
	Isolation string // "", "serializable", "repeatable read", "read committed", "read uncommitted"
	ReadOnly  bool   // READ ONLY was written
	ReadWrite bool   // READ WRITE was written
	Other     bool   // DEFERRABLE, NOT DEFERRABLE
}

// PoolCommand is a statement the proxy answers itself.
type PoolCommand struct {
	// Verb is "show_pool" (SHOW pool_x), "show" (PGPOOL SHOW), "set", "reset", "cache_delete", "explain_route", "pause", "resume",
	// "reconnect", "kill" or "switchover"; "malformed" is one of the last five that cannot be read: Name is which, Value how it is written.
	Verb  string
	Name  string // pool_nodes, ...; parameter name of PGPOOL SHOW/SET/RESET ("all" for ALL) or a database ("": all), folded as SQL folds
	Value string // value of PGPOOL SET; the text of EXPLAIN ROUTE and of CACHE DELETE; the number of KILL
	// Default is PGPOOL SET x TO DEFAULT.
	Default bool
}

// Facts are all that the rest of the proxy wants to know of a statement's text. They are immutable and shared between
// sessions: the same *Facts is returned for every text of the same shape. Facts whose value depends on literals of the
// text are computed from that text and not shared.
type Facts struct {
	Kind    Kind
	Class   Class
	Counter Counter
	Modes   TxModes  // of BEGIN, SET TRANSACTION, SET SESSION CHARACTERISTICS
	Setting *Setting // of SET, RESET and a SELECT that is nothing but set_config(constants)
	Pool    *PoolCommand
	Inner   *Facts // the statement inside PREPARE, EXPLAIN, DECLARE CURSOR, COPY (query) TO, CREATE TABLE AS; nil if none

	// Name is the name of the prepared statement (PREPARE, EXECUTE, DEALLOCATE; "" is DEALLOCATE ALL), savepoint (SAVEPOINT,
	// ROLLBACK TO, RELEASE), cursor (DECLARE, FETCH, CLOSE) or channel (LISTEN, UNLISTEN; "" is *).
	Name string
	// DiscardTarget is the word after DISCARD: "all", "plans", "sequences", "temp".
	DiscardTarget string
	// StartTransaction tells START TRANSACTION from BEGIN, for their command tags differ.
	StartTransaction bool
	// Chain is COMMIT AND CHAIN, ROLLBACK AND CHAIN.
	Chain bool
	// Hold is DECLARE ... WITH HOLD: the cursor outlives its transaction.
	Hold bool

	// Multi: the string holds more than one statement. Then the lists below, MayTouchSession and ReadOnly are those of all
	// statements together, the rest is the first one's.
	Multi bool
	// MultiBegins tells that a multi-statement string leaves a transaction open when all of it succeeds.
	MultiBegins bool
	// MultiState tells that some statement of a multi-statement string changes session state (SET, PREPARE, ...).
	MultiState bool

	// ReadOnly is "read-only by syntax" (query-routing section 7) without the first-character rule.
	ReadOnly bool
	// FirstCharOK is the first-character rule with leading white space skipped; LeadingSpace tells there was some. The rule is
	// for SELECT and its like and for empty text: other statements, and those inside another, have true and false.
	FirstCharOK, LeadingSpace bool
	// NoLoadBalanceHint, the comment /*NO LOAD BALANCE*/ at the very start.
	NoLoadBalanceHint bool

	// Relations named anywhere in the statement, CTE names included (query-routing 6 e), without duplicates.
	Relations []Name
	// Functions called anywhere (calls only, no operators or casts), without duplicates.
	Functions []Name
	// Types that are not PostgreSQL's own, without duplicates. Every table is one.
	Types []Name
	// ServerCall is the first function of PostgreSQL's own whose answer is only right where writes go although it is not
	// volatile: it reads the catalogs, tells of its server, or is refused during recovery. A name that is cast to regclass or its like
	// counts as a call of that type. Empty if there is none.
	ServerCall Name
	// Executes names the prepared statements that EXECUTE runs inside another statement (EXPLAIN, CREATE TABLE AS) or in a string
	// of several.
	Executes []string
	// CreatesTemp and DropsTables name what CREATE TEMP TABLE (also SELECT INTO TEMP, CREATE TEMP TABLE AS, VIEW, SEQUENCE) creates and DROP drops.
	CreatesTemp, DropsTables []Name

	// Configures names the settings that SET, RESET and calls of set_config are about, wherever they stand, in lower case; "" stands
	// for one whose name is no constant.
	Configures []string

	// MayTouchSession: the statement may change session state in ways its text does not show (DO, CALL, unparsed text,
	// a function call that is not in PostgreSQL's own catalog by name).
	MayTouchSession bool
	// Signal is the call of pg_cancel_backend or pg_terminate_backend that the statement consists of; nil if it is none.
	Signal *Signal
	// DatabaseDDL is the database of DROP DATABASE, ALTER DATABASE ... RENAME, CREATE DATABASE ... TEMPLATE.
	DatabaseDDL string
}
