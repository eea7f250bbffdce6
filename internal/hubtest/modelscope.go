package hubtest

import (
	"encoding/json"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
)

// modelscope answers /api/v1/models/NS/NAME/repo[/files] as ModelScope does, from
// the same repositories; its default branch is called master. Source: modelscope,
// hub/api.py and hub/file_download.py.
func (h *Hub) modelscope(w http.ResponseWriter, r *http.Request, k Knobs, s []string) {
	h.mu.Lock()
	repo, token := h.repos["models/"+s[1]+"/"+s[2]], h.token
	h.mu.Unlock()
	no := func(status int, message string) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"Code": int64(10010205001), "Message": message, "Success": false})
	}
	if repo == nil {
		no(http.StatusNotFound, "获取模型版本失败")
		return
	}
	if c, err := r.Cookie("m_session_id"); repo.Private && (err != nil || c.Value != token) {
		no(http.StatusNotFound, "获取模型版本失败")
		return
	}
	q := r.URL.Query()
	rev := q.Get("Revision")
	if rev == "master" {
		rev = "main"
	}
	repo.mu.Lock()
	sha := repo.refs[rev]
	files := repo.commits[sha]
	repo.mu.Unlock()
	switch name := q.Get("FilePath"); {
	case files == nil:
		no(http.StatusNotFound, "no such revision")
	case len(s) == 5 && s[4] == "files":
		var list []map[string]any
		for _, name := range slices.Sorted(maps.Keys(files)) {
			f := files[name]
			if q.Get("Recursive") != "True" && strings.Contains(name, "/") {
				continue
			}
			list = append(list, map[string]any{"Name": path.Base(name), "Path": name, "Type": "blob", "Size": f.size + int64(k.ListedSize), "Sha256": f.sha256, "IsLFS": f.lfs, "Revision": sha})
		}
		h.send(w, r, k, "application/json", "", jsonOf(map[string]any{"Code": 200, "Success": true, "Data": map[string]any{"Files": list}}))
	case files[name] == nil:
		no(http.StatusNotFound, "no such file")
	case files[name].lfs:
		w.Header().Set("Location", h.sign(k, files[name]))
		w.WriteHeader(http.StatusFound)
	default:
		h.file(w, r, k, files[name], "")
	}
}
