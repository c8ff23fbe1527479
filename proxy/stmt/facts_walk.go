package stmt

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// walker gathers what stands anywhere in a statement's tree.
type walker struct {
	relations, functions, types, temporary nameSet

	serverCall Name     // see Facts
	executes   []string // see Facts
	configures []string // see Facts

	into, locks, writingCTE bool
}

// walk visits the whole tree below n, which is only as deep as the nesting bound lets it be.
func walk(n *pg.Node) (w walker) {
	if n != nil {
		w.visit(n.ProtoReflect())
	}
	return w
}

func (w *walker) visit(m protoreflect.Message) {
	switch x := m.Interface().(type) {
	case *pg.A_Const, *pg.String, *pg.ColumnRef: // name nothing
		return
	case *pg.RangeVar:
		w.relations.add(rangeName(x))
		return
	case *pg.LockingClause: // names aliases
		w.locks = true
		return
	case *pg.IntoClause:
		w.into = true
		w.created(x.GetRel())
	case *pg.FuncCall:
		w.called(nameOf(x.GetFuncname()))
		w.configured(x)
	case *pg.VariableSetStmt:
		w.configures = append(w.configures, strings.ToLower(x.GetName()))
	case *pg.SQLValueFunction:
		if x.GetOp() == pg.SQLValueFunctionOp_SVFOP_CURRENT_SCHEMA {
			w.told(Name{Name: "current_schema"})
		}
	case *pg.TypeCast:
		if t := nameOf(x.GetTypeName().GetNames()); namesObject(t) && x.GetArg().GetColumnRef() == nil {
			w.told(t)
		}
	case *pg.TypeName:
		if t := nameOf(x.GetNames()); isOwnType(t) {
			w.types.add(t)
		}
	case *pg.ExecuteStmt:
		w.executes = append(w.executes, x.GetName())
	case *pg.CommonTableExpr:
		if x.GetCtequery().GetSelectStmt() == nil {
			w.writingCTE = true
		}
	case *pg.CreateStmt:
		w.created(x.GetRelation())
	case *pg.ViewStmt:
		w.created(x.GetView())
	case *pg.CreateSeqStmt:
		w.created(x.GetSequence())
	case *pg.CompositeTypeStmt:
		w.created(x.GetTypevar())
	case *pg.CreateFunctionStmt:
		w.createdName(x.GetFuncname())
	case *pg.CreateEnumStmt:
		w.createdName(x.GetTypeName())
	case *pg.CreateRangeStmt:
		w.createdName(x.GetTypeName())
	case *pg.CreateDomainStmt:
		w.createdName(x.GetDomainname())
	case *pg.DefineStmt:
		w.createdName(x.GetDefnames())
	}
	if _, ok := m.Interface().(*pg.Node); ok {
		if fd := m.WhichOneof(m.Descriptor().Oneofs().Get(0)); fd != nil {
			w.visit(m.Get(fd).Message())
		}
		return
	}
	w.fields(m)
}

// fields visits what is below m, in the order of its fields.
func (w *walker) fields(m protoreflect.Message) {
	all := m.Descriptor().Fields()
	for i := range all.Len() {
		fd := all.Get(i)
		if fd.Kind() != protoreflect.MessageKind || !m.Has(fd) {
			continue
		}
		if !fd.IsList() {
			w.visit(m.Get(fd).Message())
			continue
		}
		list := m.Get(fd).List()
		for j := range list.Len() {
			w.visit(list.Get(j).Message())
		}
	}
}

func (w *walker) called(f Name) {
	w.functions.add(f)
	if tellsOfServer(f) {
		w.told(f)
	}
}

// configured notes the setting that a call of set_config is about, "" where that is no constant.
func (w *walker) configured(call *pg.FuncCall) {
	if nameOf(call.GetFuncname()).Name != nameSetConfig {
		return
	}
	name := ""
	if args := call.GetArgs(); len(args) > 0 {
		name, _ = constText(uncast(args[0]))
	}
	w.configures = append(w.configures, strings.ToLower(name))
}

// told notes the first of the calls that tell of their server.
func (w *walker) told(f Name) {
	if w.serverCall.Name == "" {
		w.serverCall = f
	}
}

// created notes a relation if what is created is temporary.
func (w *walker) created(r *pg.RangeVar) {
	if r != nil && (r.GetRelpersistence() == "t" || isTempSchema(r.GetSchemaname())) {
		w.temporary.add(rangeName(r))
	}
}

func (w *walker) createdName(list []*pg.Node) {
	if name := nameOf(list); isTempSchema(name.Schema) {
		w.temporary.add(name)
	}
}

// isTempSchema tells the names of a session's own temporary schema.
func isTempSchema(schema string) bool {
	return schema == "pg_temp" || strings.HasPrefix(schema, "pg_temp_")
}

func rangeName(r *pg.RangeVar) Name {
	return Name{Schema: r.GetSchemaname(), Name: r.GetRelname()}
}

// nameOf reads a qualified name; of a database's name before the schema nothing is kept.
func nameOf(list []*pg.Node) (name Name) {
	if n := len(list); n > 0 {
		name.Name = list[n-1].GetString_().GetSval()
		if n > 1 {
			name.Schema = list[n-2].GetString_().GetSval()
		}
	}
	return name
}

// nameSet is a list of names without duplicates, in the order they were added.
type nameSet struct {
	list []Name
	seen map[Name]struct{} // once there are many
}

const manyNames = 32

func (s *nameSet) add(names ...Name) {
	for _, name := range names {
		if name.Name == "" || s.has(name) {
			continue
		}
		s.list = append(s.list, name)
		if s.seen != nil {
			s.seen[name] = struct{}{}
		} else if len(s.list) == manyNames {
			s.seen = make(map[Name]struct{}, 2*manyNames)
			for _, n := range s.list {
				s.seen[n] = struct{}{}
			}
		}
	}
}

func (s *nameSet) has(name Name) bool {
	if s.seen == nil {
		return slices.Contains(s.list, name)
	}
	_, ok := s.seen[name]
	return ok
}
