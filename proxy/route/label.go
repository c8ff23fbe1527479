package route

// labels name the reasons in metrics. They do not change: people search for them.
var labels = [...]string{
	ReasonLoadBalanceNode:    "load_balance_node",
	ReasonDice:               "dice",
	ReasonRedirect:           "redirect",
	ReasonRedirectStandby:    "redirect_standby",
	ReasonRedirectRest:       "redirect_rest",
	ReasonLowestDelay:        "lowest_delay",
	ReasonNoWeight:           "no_weight",
	ReasonTransactionNode:    "transaction_node",
	ReasonCursorThere:        "cursor",
	ReasonLag:                "lag",
	ReasonAllLag:             "all_lag",
	ReasonBalancingOff:       "load_balance_off",
	ReasonNotReadOnly:        "not_read_only",
	ReasonFirstChar:          "sql_comment",
	ReasonHint:               "hint",
	ReasonPattern:            "query_pattern",
	ReasonTxWrote:            "transaction_wrote",
	ReasonEarlierTxWrote:     "earlier_transaction_wrote",
	ReasonSessionWrote:       "session_wrote",
	ReasonRelationWritten:    "relation_written",
	ReasonUnknownWritten:     "unknown_written",
	ReasonSerializable:       "serializable",
	ReasonCatalog:            "catalog",
	ReasonTemp:               "temporary_table",
	ReasonTempPossible:       "temporary_table_possible",
	ReasonUnlogged:           "unlogged_table",
	ReasonServerCall:         "server_call",
	ReasonVolatileView:       "volatile_view",
	ReasonVolatile:           "volatile_function",
	ReasonWriteFunction:      "write_function_list",
	ReasonNotListed:          "not_in_read_only_function_list",
	ReasonNamesUnknown:       "names_unknown",
	ReasonWrite:              "write",
	ReasonLocksOrWrites:      "select_locks_or_writes",
	ReasonPrimaryOnly:        "primary_only",
	ReasonUnparsed:           "unparsed",
	ReasonMulti:              "several_statements",
	ReasonUnknownPrepared:    "unknown_prepared",
	ReasonTransactionControl: "transaction_control",
	ReasonSessionState:       "session_state",
	ReasonShareLock:          "share_lock",
	ReasonPreparedThere:      "prepared_there",
	ReasonMainNode:           "main_node",
	ReasonFailedTransaction:  "failed_transaction",
	ReasonNoNode:             "no_node",
	ReasonSeeking:            "seeking_primary",
	ReasonDraining:           "draining_primary",
	ReasonNoPrimary:          "no_primary",
	ReasonProxy:              "proxy",
}

// Label is the code's name in metrics, "" for ReasonNone and for what is no code.
func (c ReasonCode) Label() string {
	if int(c) < len(labels) {
		return labels[c]
	}
	return ""
}
