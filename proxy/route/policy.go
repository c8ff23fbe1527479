package route

import (
	"regexp"
	"strings"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// Policy is what one configuration says about routing, prepared for deciding. It is immutable and shared by all sessions.
type Policy struct {
	loadBalance    bool // load_balance_mode
	statementLevel bool // statement_level_load_balance
	skipBlanks     bool // ignore_leading_white_space
	allowComments  bool // allow_sql_comments
	checkUnlogged  bool // check_unlogged_table
	preferLower    bool // prefer_lower_delay_standby
	onWrite        conf.DisableLoadBalanceOnWrite
	tempTables     conf.CheckTempTable // Effective
	threshold      cluster.LSN         // delay_threshold, bytes; 0 is off
	thresholdTime  time.Duration       // delay_threshold_by_time; 0 is off, else it wins

	readOnly  nameList
	writing   nameList
	patterns  []*regexp.Regexp
	redirects [redirectLists]conf.RedirectList // in order of precedence
	related   relations
}

// NewPolicy prepares the sections of a configuration that routing obeys. Which clustering mode it is stands in the View.
func NewPolicy(lb *conf.LoadBalance, sc *conf.StreamingCheck, rc *conf.RelationCache) *Policy {
	return &Policy{
		loadBalance:    lb.LoadBalanceMode,
		statementLevel: lb.StatementLevelLoadBalance,
		skipBlanks:     lb.IgnoreLeadingWhiteSpace,
		allowComments:  lb.AllowSQLComments,
		checkUnlogged:  rc.CheckUnloggedTable,
		preferLower:    sc.PreferLowerDelayStandby,
		onWrite:        lb.DisableLoadBalanceOnWrite,
		tempTables:     rc.CheckTempTable.Effective(),
		threshold:      cluster.LSN(max(sc.DelayThreshold, 0)),
		thresholdTime:  sc.DelayThresholdByTime,
		readOnly:       newNameList(&lb.ReadOnlyFunctionList),
		writing:        newNameList(&lb.WriteFunctionList),
		patterns:       lb.PrimaryRoutingQueryPatternList.List,
		redirects: [redirectLists]conf.RedirectList{
			lb.AppNameRedirectPreferenceList, lb.DatabaseRedirectPreferenceList, lb.UserRedirectPreferenceList,
		},
		related: newRelations(&lb.DmlAdaptiveObjectRelationshipList),
	}
}

// WithSession returns the policy with the two parameters that PGPOOL SET may change for a session.
func (p *Policy) WithSession(allowSQLComments, checkUnloggedTable bool) *Policy {
	if p.allowComments == allowSQLComments && p.checkUnlogged == checkUnloggedTable {
		return p
	}
	q := *p
	q.allowComments, q.checkUnlogged = allowSQLComments, checkUnloggedTable
	return &q
}

// NeedsText reports whether Input.Text has to be given: some pattern is configured.
func (p *Policy) NeedsText() bool { return len(p.patterns) > 0 }

// AsksTemp reports whether the catalogue tells which tables are temporary; otherwise Names.Temp is not looked at.
func (p *Policy) AsksTemp() bool { return p.tempTables == conf.TempTableCatalog }

// functionLists reports whether lists, and not the catalogue, tell which functions write.
func (p *Policy) functionLists() bool { return !p.readOnly.empty() || !p.writing.empty() }

// matchesPattern is condition h: the whole text, without double quotes, matches a pattern.
func (p *Policy) matchesPattern(text string) bool {
	if len(p.patterns) == 0 {
		return false
	}
	if strings.IndexByte(text, '"') >= 0 {
		text = strings.ReplaceAll(text, `"`, "")
	}
	for _, re := range p.patterns {
		if re.MatchString(text) {
			return true
		}
	}
	return false
}
