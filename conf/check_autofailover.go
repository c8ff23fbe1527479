package conf

// autoFailoverWarnings are about auto_failover where it does nothing, or late.
func autoFailoverWarnings() []crossCheck {
	return []crossCheck{
		withAutoFailover(warnScriptRuns, "auto_failover", "failover_command"),
		withAutoFailover(warnScriptFollows, "auto_failover", "follow_primary_command"),
		withAutoFailover(warnNoSearch, "auto_failover", "sr_check_user", "sr_check_period"),
		withAutoFailover(warnNoHealthCheck, "auto_failover", "health_check_period"),
	}
}

// withAutoFailover is a check that is about nothing while auto_failover is off.
func withAutoFailover(test func(c *Config) (text, hint string), names ...string) crossCheck {
	return crossCheck{names, func(c *Config) (string, string) {
		if !c.Failover.AutoFailover {
			return "", ""
		}
		return test(c)
	}}
}

func warnScriptRuns(c *Config) (text, hint string) {
	if c.Failover.FailoverCommand == "" {
		return "", ""
	}
	return "auto_failover has no effect: failover_command is set and does the promotion", "empty failover_command to have pgpool promote and rejoin servers"
}

// warnScriptFollows is about a script that was kept: the nodes it is run for are taken out, and it rebuilds them while we do.
func warnScriptFollows(c *Config) (text, hint string) {
	if c.Failover.FailoverCommand != "" || c.Failover.FollowPrimaryCommand == "" {
		return "", ""
	}
	return "follow_primary_command is run beside auto_failover: it takes out standbys that would stay in service, and two act on each server",
		"empty follow_primary_command: pgpool has the standbys follow by itself"
}

func warnNoSearch(c *Config) (text, hint string) {
	switch {
	case c.Failover.FailoverCommand != "":
	case c.StreamingCheck.SrCheckUser == "":
		return "auto_failover does not know who is the primary without sr_check_user", ""
	case c.StreamingCheck.SrCheckPeriod == 0:
		return "auto_failover does not know what a lost primary had written nor whom its commits waited for: sr_check_period is 0",
			"max_lag_on_failover has no effect then"
	}
	return "", ""
}

func warnNoHealthCheck(c *Config) (text, hint string) {
	if c.Failover.FailoverCommand != "" || c.HealthCheck.Global.Period > 0 || len(c.HealthCheck.Nodes) > 0 {
		return "", ""
	}
	return "auto_failover finds the loss of a server only when a client uses it: health_check_period is 0", ""
}
