package stmt

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// walker gathers what stands anywhere in a statement's tree.
type walker struct {
	relations, functions, temporary []Name

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
	case *pg.RangeVar:
		w.relations = appendName(w.relations, rangeName(x))
		return
	case *pg.LockingClause: // names aliases
		w.locks = true
		return
	case *pg.IntoClause:
		w.into = true
		w.created(x.GetRel())
	case *pg.FuncCall:
		w.functions = appendName(w.functions, nameOf(x.GetFuncname()))
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
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Kind() != protoreflect.MessageKind {
			return true
		}
		if !fd.IsList() {
			w.visit(v.Message())
			return true
		}
		list := v.List()
		for i := range list.Len() {
			w.visit(list.Get(i).Message())
		}
		return true
	})
}

// created notes a relation if what is created is temporary.
func (w *walker) created(r *pg.RangeVar) {
	if r != nil && (r.GetRelpersistence() == "t" || isTempSchema(r.GetSchemaname())) {
		w.temporary = appendName(w.temporary, rangeName(r))
	}
}

func (w *walker) createdName(list []*pg.Node) {
	if name := nameOf(list); isTempSchema(name.Schema) {
		w.temporary = appendName(w.temporary, name)
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

// appendName appends a name that is not there yet.
func appendName(list []Name, name Name) []Name {
	if name.Name == "" || slices.Contains(list, name) {
		return list
	}
	return append(list, name)
}

func merge(list, more []Name) []Name {
	for _, name := range more {
		list = appendName(list, name)
	}
	return list
}
