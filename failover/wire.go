package failover

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopgpool/cluster"
)

const (
	wireVersion = 1
	maxWire     = 64 << 10
	maxWords    = 512 // of an error that is passed on
)

// Kinds of requests on the wire.
const (
	kindDetach  = "detach"
	kindAttach  = "attach"
	kindPromote = "promote"
	kindUsed    = "used"
	kindSwitch  = "switchover"
	kindBar     = "bar"
	kindCallOff = "call off"
	kindSettle  = "settle"
)

// wireRequest is a request on its way to the leader. A finding comes with the epochs its nodes have in the decision it is about.
type wireRequest struct {
	Version      int              `json:"version"`
	Kind         string           `json:"kind"`
	Nodes        []cluster.NodeID `json:"nodes,omitempty"`
	Epochs       []cluster.Epoch  `json:"epochs,omitempty"` // of Nodes; none for an order
	Primary      cluster.NodeID   `json:"primary"`
	PrimaryEpoch cluster.Epoch    `json:"primary_epoch,omitempty"`
	Origin       Origin           `json:"origin,omitempty"`
	Evidence     Evidence         `json:"evidence,omitempty"`
	TimedOut     bool             `json:"timed_out,omitempty"`
	Switchover   bool             `json:"switchover,omitempty"`
	Unfit        bool             `json:"unfit,omitempty"`
	Run          int              `json:"run,omitempty"`
	Error        string           `json:"error,omitempty"`
}

// wireReply is what the leader says to a request.
type wireReply struct {
	Version   int    `json:"version"`
	Elsewhere bool   `json:"elsewhere,omitempty"` // somebody else leads
	Error     string `json:"error,omitempty"`     // the request cannot be read
	Refused   bool   `json:"refused,omitempty"`
	Fatal     bool   `json:"fatal,omitempty"`
	Message   string `json:"message,omitempty"`
	Detail    string `json:"detail,omitempty"`
	Settled   bool   `json:"settled,omitempty"`
	Number    uint64 `json:"number,omitempty"` // of the decision that holds then
}

// wire words a request, whose Seen has the epochs of the basis.
func wire(r Request) wireRequest {
	w := wireRequest{Version: wireVersion, Primary: cluster.NoNode}
	switch r := r.(type) {
	case Detach:
		w.Kind, w.Nodes, w.Origin, w.Evidence, w.TimedOut = kindDetach, r.Nodes, r.Origin, r.Evidence, r.TimedOut
		if r.Err != nil {
			w.Error = r.Err.Error()
			w.Error = strings.ToValidUTF8(w.Error[:min(len(w.Error), maxWords)], "")
		}
		w.date(r.Seen)
	case Attach:
		w.Kind, w.Nodes, w.Origin = kindAttach, []cluster.NodeID{r.Node}, r.Origin
		w.date(r.Seen)
	case Promote:
		w.Kind, w.Nodes, w.Switchover = kindPromote, []cluster.NodeID{r.Node}, r.Switchover
	case Switchover:
		w.Kind, w.Nodes = kindSwitch, []cluster.NodeID{r.Node}
	case CallOff:
		w.Kind, w.Run = kindCallOff, r.Run
	case Bar:
		w.Kind, w.Nodes, w.Unfit = kindBar, []cluster.NodeID{r.Node}, r.Unfit
	case NodeUsed:
		w.Kind, w.Nodes = kindUsed, []cluster.NodeID{r.Node}
	case settle:
		w.Kind = kindSettle
	default:
		panic(fmt.Sprintf("failover: no request for others: %T", r))
	}
	return w
}

// date notes what a finding is about.
func (w *wireRequest) date(seen *cluster.View) {
	if seen == nil {
		return
	}
	for _, id := range w.Nodes {
		w.Epochs = append(w.Epochs, nodeOf(seen, id).Epoch)
	}
	w.Primary, w.PrimaryEpoch = seen.Primary, nodeOf(seen, seen.Primary).Epoch
}

func (w *wireRequest) encode() []byte { return marshal(w) }

func marshal(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic("failover: a message cannot be written: " + err.Error())
	}
	return data
}

// parseRequest reads a request of another node.
func parseRequest(data []byte) (*wireRequest, error) {
	if len(data) > maxWire {
		return nil, fmt.Errorf("failover: request of %d bytes: %w", len(data), errTooLong)
	}
	var w wireRequest
	if err := json.Unmarshal(data, &w); err != nil {
		return nil, fmt.Errorf("failover: request: %w", err)
	}
	if w.Version != wireVersion {
		return nil, fmt.Errorf("failover: request of version %d, this release knows version %d", w.Version, wireVersion)
	}
	if !w.sound() {
		return nil, fmt.Errorf("failover: request %q: %w", w.Kind, errMeaning)
	}
	return &w, nil
}

func (w *wireRequest) sound() bool {
	if len(w.Epochs) != 0 && len(w.Epochs) != len(w.Nodes) || !optional(w.Primary) || w.Evidence > Answered {
		return false
	}
	known := w.Origin >= ByHealthCheck && w.Origin <= ByAutoFailback
	switch w.Kind {
	case kindDetach:
		return known && len(w.Nodes) > 0 && len(w.Nodes) <= cluster.MaxNodes
	case kindAttach:
		return known && len(w.Nodes) == 1
	case kindPromote, kindSwitch, kindBar:
		return len(w.Nodes) == 1
	case kindUsed:
		return len(w.Nodes) == 1 && !outOfRange(w.Nodes[0])
	case kindSettle, kindCallOff:
		return len(w.Nodes) == 0
	}
	return false
}

// request is what is asked for, about the backends as v has them.
func (w *wireRequest) request(v *cluster.View) Request {
	switch w.Kind {
	case kindDetach:
		r := Detach{Nodes: w.Nodes, Origin: w.Origin, Evidence: w.Evidence, TimedOut: w.TimedOut, Seen: w.seen(v)}
		if w.Error != "" {
			r.Err = errors.New(w.Error)
		}
		return r
	case kindAttach:
		return Attach{Node: w.Nodes[0], Origin: w.Origin, Seen: w.seen(v)}
	case kindPromote:
		return Promote{Node: w.Nodes[0], Switchover: w.Switchover}
	case kindSwitch:
		return Switchover{Node: w.Nodes[0]}
	case kindCallOff:
		return CallOff{Run: w.Run}
	case kindBar:
		return Bar{Node: w.Nodes[0], Unfit: w.Unfit}
	case kindUsed:
		return NodeUsed{Node: w.Nodes[0]}
	}
	return settle{}
}

// seen is the View a finding is about, as far as it is known: nil for an order.
func (w *wireRequest) seen(v *cluster.View) *cluster.View {
	if len(w.Epochs) == 0 {
		return nil
	}
	s := edit(v)
	for i := range s.Nodes {
		s.Nodes[i].Epoch = staleEpoch
	}
	put := func(id cluster.NodeID, e cluster.Epoch) {
		if id >= 0 && int(id) < len(s.Nodes) {
			s.Nodes[id].Epoch = e
		}
	}
	s.Primary = w.Primary
	put(w.Primary, w.PrimaryEpoch)
	for i, id := range w.Nodes {
		put(id, w.Epochs[i])
	}
	return s
}

// key names what a request votes for: what is to become of which nodes, as they are since when.
func (w *wireRequest) key() string {
	words := make([]string, len(w.Nodes))
	for i, id := range w.Nodes {
		words[i] = strconv.Itoa(int(id))
		if i < len(w.Epochs) {
			words[i] += "@" + strconv.FormatUint(uint64(w.Epochs[i]), 10)
		}
	}
	slices.Sort(words)
	return strings.TrimSpace(w.Kind + " " + strings.Join(words, ","))
}

// functions are the manual's names of what is asked for; what has none is no news.
var functions = map[string]string{
	kindDetach: "DEGENERATE_BACKEND_REQUEST", kindAttach: "FAILBACK_REQUEST", kindPromote: "PROMOTE_BACKEND_REQUEST",
}

// ask is a request that needs votes, order one that does not.
func (w *wireRequest) ask() Ask {
	return Ask{Key: w.key(), Function: functions[w.Kind], Request: w.encode()}
}

func (w *wireRequest) order() Ask {
	return Ask{Key: w.key(), Function: functions[w.Kind], Confirmed: true, Request: w.encode()}
}

// parseReply reads what the leader has said. What cannot be read says nothing.
func parseReply(data []byte) wireReply {
	var r wireReply
	if len(data) > maxWire || json.Unmarshal(data, &r) != nil || r.Version != wireVersion {
		return wireReply{Error: "the leader's answer cannot be read"}
	}
	return r
}

func refusalReply(err error) []byte {
	r := wireReply{Version: wireVersion, Refused: true, Message: err.Error()}
	if why := (*Refusal)(nil); errors.As(err, &why) {
		r.Fatal, r.Message, r.Detail = why.Fatal, why.Message, why.Detail
	}
	return marshal(&r)
}

// refusal is the leader's, nil where it has agreed.
func (r *wireReply) refusal() error {
	switch {
	case r.Refused:
		return &Refusal{Fatal: r.Fatal, Message: r.Message, Detail: r.Detail}
	case r.Error != "":
		return &Refusal{Message: "the leader of the watchdog cluster could not carry the request out", Detail: r.Error}
	}
	return nil
}
