-- Tables, strings, coroutines, garbage collection.
local words = {}
for i = 1, 50000 do words[#words + 1] = "word" .. (i * 7919 % 10007) end
table.sort(words)
print(words[1], words[25000], words[#words])
local text = table.concat(words, " ")
print(#text, select(2, text:gsub("word(%d+)", "<%1>")))
local function numbers(n)
  return coroutine.wrap(function() for i = 1, n do coroutine.yield(i) end end)
end
local sum = 0
for _ = 1, 200 do for i in numbers(100) do sum = sum + i end end
print(sum)
for _ = 1, 20 do
  local garbage = {}
  for i = 1, 10000 do garbage[i] = { i, tostring(i) } end
  collectgarbage()
end
print(collectgarbage("count") < 200000)
