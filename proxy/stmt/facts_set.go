package stmt

import (
	"slices"
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

const (
	isolationOption = "transaction_isolation"
	readOnlyOption  = "transaction_read_only"
	serializable    = "serializable"
)

// setFacts: SET, SET LOCAL, SET TRANSACTION, SET SESSION CHARACTERISTICS, RESET.
func setFacts(f *Facts, s *pg.VariableSetStmt) {
	set := &Setting{Name: strings.ToLower(s.GetName()), Local: s.GetIsLocal()}
	f.Kind, f.Class, f.Counter, f.Setting = KindSet, ClassBoth, CountOther, set
	switch s.GetKind() {
	case pg.VariableSetKind_VAR_RESET:
		f.Kind, set.Default = KindReset, true
	case pg.VariableSetKind_VAR_RESET_ALL:
		f.Kind, set.All, set.Name = KindReset, true, ""
	case pg.VariableSetKind_VAR_SET_DEFAULT:
		set.Default = true
	case pg.VariableSetKind_VAR_SET_VALUE:
		if !setValues(set, s.GetArgs()) {
			f.MayTouchSession = true
		}
	case pg.VariableSetKind_VAR_SET_MULTI:
		setTransaction(f, set, s)
	default: // SET x FROM CURRENT is meant for functions
		f.MayTouchSession = true
	}
	if primaryOnly(set, &f.Modes) {
		f.Class = ClassPrimary
	}
}

// setTransaction handles the forms of SET that have modes instead of a value.
func setTransaction(f *Facts, set *Setting, s *pg.VariableSetStmt) {
	set.Name = ""
	switch s.GetName() {
	case "TRANSACTION":
		set.Transaction = true
	case "SESSION CHARACTERISTICS":
		set.Characteristics = true
	case "TRANSACTION SNAPSHOT":
		set.Transaction = true
		f.Modes.Other = true
		f.Class = ClassPrimary // a snapshot exists on the server that exported it
		return
	}
	f.Modes = modesOf(s.GetArgs())
}

// primaryOnly tells the settings a standby would refuse (query-routing section 6).
func primaryOnly(set *Setting, modes *TxModes) bool {
	switch {
	case modes.Isolation == serializable || modes.ReadWrite:
		return true
	case set.Default || set.All:
		return false
	}
	switch set.Name {
	case isolationOption, "default_transaction_isolation":
		return strings.EqualFold(set.Value, serializable)
	case readOnlyOption:
		return isOff(set.Value)
	}
	return false
}

// setValues takes the arguments of SET x TO a, b; false if one is not a plain constant (SET TIME ZONE INTERVAL ...).
func setValues(set *Setting, args []*pg.Node) bool {
	plain := true
	for _, a := range args {
		v, ok := constText(a)
		if !ok {
			v, _ = constText(a.GetTypeCast().GetArg())
			plain = false
		}
		set.Values = append(set.Values, v)
	}
	if len(set.Values) > 0 {
		set.Value = set.Values[0]
	}
	return plain
}

// configSetting answers what set_config(name, value, is_local) does, nil unless all three are constants.
func configSetting(call *pg.FuncCall) *Setting {
	args := call.GetArgs()
	if len(args) != 3 {
		return nil
	}
	name, ok := constText(uncast(args[0]))
	local, isConst := constText(uncast(args[2]))
	if !ok || !isConst || !isOn(local) && !isOff(local) {
		return nil
	}
	set := &Setting{Name: strings.ToLower(name), Local: isOn(local)}
	value := uncast(args[1])
	if value.GetAConst().GetIsnull() {
		set.Default = true
		return set
	}
	if set.Value, ok = constText(value); !ok {
		return nil
	}
	set.Values = []string{set.Value}
	return set
}

// uncast strips casts such as 'x'::text.
func uncast(n *pg.Node) *pg.Node {
	for n.GetTypeCast() != nil {
		n = n.GetTypeCast().GetArg()
	}
	return n
}

// modesOf reads transaction modes.
func modesOf(options []*pg.Node) (m TxModes) {
	for _, o := range options {
		text, _ := constText(o.GetDefElem().GetArg())
		switch o.GetDefElem().GetDefname() {
		case isolationOption:
			m.Isolation = strings.ToLower(text)
		case readOnlyOption:
			if text == "0" {
				m.ReadWrite = true
			} else {
				m.ReadOnly = true
			}
		default:
			m.Other = true
		}
	}
	return m
}

// constText answers the text of a constant as SET would take it.
func constText(n *pg.Node) (string, bool) {
	switch v := n.GetNode().(type) {
	case *pg.Node_String_:
		return v.String_.GetSval(), true
	case *pg.Node_Integer:
		return strconv.Itoa(int(v.Integer.GetIval())), true
	case *pg.Node_Float:
		return v.Float.GetFval(), true
	case *pg.Node_Boolean:
		return strconv.FormatBool(v.Boolean.GetBoolval()), true
	case *pg.Node_AConst:
		switch c := v.AConst.GetVal().(type) {
		case *pg.A_Const_Sval:
			return c.Sval.GetSval(), true
		case *pg.A_Const_Ival:
			return strconv.Itoa(int(c.Ival.GetIval())), true
		case *pg.A_Const_Fval:
			return c.Fval.GetFval(), true
		case *pg.A_Const_Boolval:
			return strconv.FormatBool(c.Boolval.GetBoolval()), true
		}
	}
	return "", false
}

// optionOn tells whether the last option of that name is on; without an argument it is.
func optionOn(options []*pg.Node, name string) bool {
	on := false
	for _, o := range options {
		if d := o.GetDefElem(); d.GetDefname() == name {
			text, ok := constText(d.GetArg())
			on = !ok || !isOff(text)
		}
	}
	return on
}

func hasOption(options []*pg.Node, name string) bool {
	return slices.ContainsFunc(options, func(o *pg.Node) bool { return o.GetDefElem().GetDefname() == name })
}

// optionText answers the text of an option, "" if it is not there.
func optionText(options []*pg.Node, name string) string {
	for _, o := range options {
		if d := o.GetDefElem(); d.GetDefname() == name {
			text, _ := constText(d.GetArg())
			return text
		}
	}
	return ""
}

// isOff and isOn read a boolean as SET does: 0 and 1, and beginnings of the words that are unambiguous.
func isOff(text string) bool {
	s := strings.ToLower(text)
	return s == "0" || s != "" && (strings.HasPrefix("false", s) || strings.HasPrefix("no", s)) || s == "of" || s == "off"
}

func isOn(text string) bool {
	s := strings.ToLower(text)
	return s == "1" || s != "" && (strings.HasPrefix("true", s) || strings.HasPrefix("yes", s)) || s == "on"
}
