// Package auth decides who may log in, and how we log in to a server in a client's name. It owns the rules of
// pool_hba.conf ([ParseHBA], [Rules.Match]), the entries of pool_passwd ([Passwords], [Entry]) with their AES form and
// key file ([Key]), also where an entry is the SCRAM verifier that a server has stored, one exchange per method towards
// clients ([Acceptor]) and towards servers ([Login]), and the decision that joins the two sides ([Decide], [Answer],
// [MayReuse]).
//
// Reading order for "how does a client authenticate": [Rules.Match] gives the record, [Decide] turns it and what is
// known about the user ([Facts]) into a [Plan], [NewAcceptor] carries the plan out with the client ([Party]) and gives an
// [Identity], [Answer] picks the [Credential] for a server, [Login] uses it. What comes of every combination of record,
// entry and server is in testdata/sources.md.
//
// It leaves to its callers: sockets and message framing (every exchange maps message bodies to message bodies), TLS,
// deadlines, the sending of errors ([Error] says what the client may read and what the log gets), and where expensive
// steps run: whatever takes longer than a loop may block is handed out as [Step.Work]. Apart from [LoadPasswords],
// [PasswordFile], [LoadKey], [GatherNames] and [NewRandom] nothing here touches the outside world.
//
// No error, reason or String method of this package contains a password, a hash or a key.
package auth
