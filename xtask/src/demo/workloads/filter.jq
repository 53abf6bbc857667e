# Groups, sorts and rebuilds records.
  (map(select(.kind % 3 != 0)) | length) as $kept
| (group_by(.kind) | map({kind: .[0].kind, count: length, total: (map(.price) | add)})) as $groups
| (sort_by(.price, .id) | reverse | .[:5] | map(.name)) as $dearest
| (map(.name | ascii_upcase | gsub("[AEIOU]"; "_")) | unique | length) as $names
| (reduce .[] as $r ({}; .["k\($r.kind)"] += [$r.tags[]]) | map_values(unique | length)) as $tags
| {kept: $kept, groups: $groups, dearest: $dearest, names: $names, tags: $tags}
