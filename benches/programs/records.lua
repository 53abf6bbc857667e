-- Builds, groups, joins and drops records. Argument: rounds.
local total = 0
for number = 1, tonumber(arg[1]) do
  local records, groups = {}, {}
  for i = 1, 4000 do
    local values = {}
    for k = 1, 6 do values[k] = i * k end
    records[i] = { id = number * 4000 + i, name = "user" .. (i * 7919 % 997), values = values,
                   note = string.rep("x", i % 300) }
  end
  for _, record in ipairs(records) do
    local group = groups[record.name]
    if not group then group = {}; groups[record.name] = group end
    group[#group + 1] = table.concat(record.values, ",") .. record.note
  end
  for _, group in pairs(groups) do total = total + #table.concat(group, ";") end
end
print(total)
