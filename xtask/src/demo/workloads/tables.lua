-- Tables, strings, closures, coroutines, and the garbage collector.
local seed = 5
local function draw(n)
    seed = (seed * 1103515245 + 12345) % 2147483648
    return seed % n
end

local tree = {}
local function insert(node, key, value)
    while true do
        if key == node.key then node.value = value return end
        local side = key < (node.key or key + 1) and "left" or "right"
        if not node[side] then node[side] = { key = key, value = value } return end
        node = node[side]
    end
end
for i = 1, 80000 do insert(tree, draw(1000000), "value " .. i) end

local function walk(node)
    if node.left then walk(node.left) end
    if node.key then coroutine.yield(node.key, node.value) end
    if node.right then walk(node.right) end
end
local nodes, keys, text = 0, 0, {}
for key, value in coroutine.wrap(function() walk(tree) end) do
    nodes, keys = nodes + 1, keys + key
    if nodes % 1000 == 0 then text[#text + 1] = key .. ":" .. value end
end
print(nodes, keys, #table.concat(text, ";"))
print(table.concat(text, ";"):sub(1, 100))

local made = 0
for round = 1, 20 do
    local list = {}
    for i = 1, 8000 do
        list[i] = ("%d-%s"):format(i, string.rep("x", draw(60)))
        made = made + #list[i]
    end
    table.sort(list)
end
print(made)
tree = nil
collectgarbage()
print(collectgarbage("count") < 4000)
