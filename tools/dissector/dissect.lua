--
-- Dissects traces of vushim: pcapng files of link type 252 whose packets name this dissector. What
-- a record looks like is said in msgcodec/traceformat.h; all names and layouts are in T above.
--
-- Requests and answers are paired, and what was passed on is compared with how it came, as
-- tools/trace_story.c does it, once when Wireshark sees each packet for the first time. Links to a
-- later packet (response_in) are therefore shown from the second pass on: in Wireshark always, in
-- tshark with -2.

local P = Proto(T.dissector, "vhost-user")
local R = T.record
local MAX_OUTSTANDING = 64 -- requests without an answer that are remembered, of each wire

---- fields ----

local all_fields = {}

local function field(kind, name, ...)
    local f = ProtoField[kind](T.dissector .. "." .. name, ...)
    all_fields[#all_fields + 1] = f
    return f
end

local function label(name)
    return (name:sub(1, 1):upper() .. name:sub(2):gsub("_", " "))
end

local F = {
    record = field("none", "record", "Record"),
    kind = field("string", "kind", "Record"),
    wire = field("string", "wire", "Wire"),
    direction = field("string", "direction", "Direction"),
    device = field("string", "device", "Kind of device"),
    redacted = field("bool", "redacted", "Addresses are hashes", 8, nil, R.redacted),
    life = field("uint32", "life", "Connection", base.DEC),
    number = field("uint64", "number", "Number", base.DEC),

    header = field("none", "header", "Header"),
    request = field("string", "request", "Request"),
    id = field("uint32", "id", "Request number", base.DEC),
    flags = field("uint32", "flags", "Flags", base.HEX),
    version = field("uint32", "version", "Version", base.DEC, nil, T.header.version),
    reply = field("bool", "reply", "Reply", 32, nil, T.header.reply),
    need_reply = field("bool", "need_reply", "Needs a reply", 32, nil, T.header.need_reply),
    size = field("uint32", "size", "Size of the payload", base.DEC),
    payload = field("string", "payload", "Payload"),
    queue = field("uint32", "queue", "Virtqueue", base.DEC),
    nofd = field("bool", "nofd", "No descriptor"),
    feature = field("string", "feature", "Feature"),
    protocol_feature = field("string", "protocol_feature", "Protocol feature"),
    bytes = field("bytes", "bytes", "Bytes"),
    rest = field("bytes", "rest", "Bytes behind the fields"),

    fd = field("none", "fd", "Descriptor"),
    fd_role = field("string", "fd.role", "Role"),
    fd_kind = field("string", "fd.kind", "Kind"),
    fd_inode = field("uint64", "fd.inode", "Inode", base.DEC),
    fd_size = field("uint64", "fd.size", "Size", base.DEC),

    ending = field("string", "ending", "Ending"),
    refused = field("string", "refused", "Refused"),
    event = field("string", "event", "Event"),
    text = field("string", "text", "Text"),
    lost = field("uint64", "lost", "Records lost", base.DEC),

    origin = field("string", "origin", "Origin"),
    response_in = field("framenum", "response_in", "Response in", base.NONE, frametype.RESPONSE),
    response_to = field("framenum", "response_to", "Response to", base.NONE, frametype.REQUEST),
    latency = field("relative_time", "latency", "Time since the request"),
    changed = field("framenum", "changed", "Changed by vushim; it came in"),
    before = field("string", "before", "Before"),
}

local bases = { DECIMAL = base.DEC, VRING_FD_BITS = base.DEC }
local sizes = { [1] = "uint8", [2] = "uint16", [4] = "uint32", [8] = "uint64" }

local function payload_field(payload, row)
    local name = payload.name .. "." .. row.name
    if row.style == "MAC_ADDRESS" then
        return field("ether", name, label(row.name))
    elseif sizes[row.size] == nil then
        return field("bytes", name, label(row.name), base.COLON)
    end
    return field(sizes[row.size], name, label(row.name), bases[row.style] or base.HEX)
end

local payloads = {}
for _, p in ipairs(T.payloads) do
    payloads[p.name] = p
    for _, row in ipairs(p.fields) do
        row.field = payload_field(p, row)
    end
    if p.tail == "bytes" then
        p.bytes = field("bytes", p.name .. ".bytes", "Bytes")
    elseif p.tail == "repeat" then
        p.regions = field("none", p.name .. ".regions", label(p.element))
    end
end

for _, device in pairs(T.devices) do
    for _, row in ipairs(device.config) do
        local number = not row.text and sizes[row.size]
        row.field = field(number or "bytes", "config_space." .. device.name .. "." .. row.name,
                          row.name, number and base.DEC or base.NONE)
    end
end

P.fields = all_fields

---- expert information ----

local all_experts = {}

local function expert_info(name, text, group, severity)
    local e = ProtoExpert.new(T.dissector .. ".expert." .. name, text, expert.group[group],
                              expert.severity[severity])
    all_experts[#all_experts + 1] = e
    return e
end

local E = {
    error_answer = expert_info("error_answer", "The request failed", "RESPONSE_CODE", "ERROR"),
    refused = expert_info("refused", "Refused by vushim", "RESPONSE_CODE", "WARN"),
    gap = expert_info("gap", "Records were lost", "SEQUENCE", "WARN"),
    changed = expert_info("changed", "Changed by vushim", "COMMENTS_GROUP", "NOTE"),
    own = expert_info("own", "Sent by vushim itself", "COMMENTS_GROUP", "NOTE"),
    unknown = expert_info("unknown", "Unknown message", "UNDECODED", "WARN"),
    later = expert_info("later", "Record of a later vushim", "UNDECODED", "WARN"),
    size = expert_info("size", "Payload of a wrong size", "PROTOCOL", "WARN"),
    malformed = expert_info("malformed", "Malformed record", "MALFORMED", "ERROR"),
    -- An ending is as loud here as it is in the log.
    ending = {
        error = expert_info("ending_error", "The connection broke", "PROTOCOL", "ERROR"),
        warn = expert_info("ending_warn", "The connection was turned away", "PROTOCOL", "WARN"),
        info = expert_info("ending", "The connection ended", "SEQUENCE", "CHAT"),
    },
}
E.ending.debug = E.ending.info

P.experts = all_experts

---- values ----

-- A number of up to 64 bits as its two halves: Lua 5.2 has no integers of 64 bits.
local function number_of(range, little)
    if range:len() == 8 then
        local v = little and range:le_uint64() or range:uint64()
        return { lo = v:lower(), hi = v:higher(), text = tostring(v) }
    end
    local v = little and range:le_uint() or range:uint()
    return { lo = v, hi = 0, text = ("%d"):format(v) }
end

local function has_bit(value, bit)
    local half = bit < 32 and value.lo or value.hi
    return math.floor(half / 2 ^ (bit % 32)) % 2 == 1
end

local function hex(value)
    if value.hi > 0 then
        return ("0x%x%08x"):format(value.hi, value.lo)
    end
    return value.lo == 0 and "0" or ("0x%x"):format(value.lo)
end

local function names_of_bits(value, names)
    local found = {}
    for bit = 0, 63 do
        if has_bit(value, bit) then
            found[#found + 1] = names[bit]
        end
    end
    return found
end

local function with_colons(range, n)
    local found = {}
    for i = 0, n - 1 do
        found[#found + 1] = ("%02x"):format(range(i, 1):uint())
    end
    return table.concat(found, ":")
end

local function bit_names(style, device)
    if style == "FEATURE_NAMES" then
        return (T.devices[device] or T.devices[0]).bits, F.feature
    elseif style == "PROTOCOL_NAMES" then
        return T.protocol_bits, F.protocol_feature
    end
end

-- As message_print() has it.
local function value_text(row, range, m)
    if row.style == "MAC_ADDRESS" then
        return with_colons(range, 6)
    elseif row.style == "UUID_TEXT" then
        return with_colons(range, row.size)
    end
    local value = number_of(range, m.little)
    local names = bit_names(row.style, m.device)
    if names then
        return "{" .. table.concat(names_of_bits(value, names), ", ") .. "}"
    elseif row.style == "DECIMAL" then
        return value.text
    elseif row.style == "VRING_FD_BITS" then
        return value.lo % (T.vring.index + 1) .. (has_bit(value, 8) and " nofd" or "")
    end
    return hex(value)
end

local function is_there(row, body)
    return body ~= nil and row.offset + row.size <= body:len()
end

-- The fields that are shown and there: list of { row, text }.
local function shown_fields(m)
    local found = {}
    for _, row in ipairs(m.payload and m.payload.fields or {}) do
        if row.style ~= "HIDDEN" and is_there(row, m.body) then
            local range = m.body(row.offset, row.size)
            found[#found + 1] = { row = row, text = value_text(row, range, m) }
        end
    end
    return found
end

---- payloads in the tree ----

local function add_number(tree, f, range, little)
    return little and tree:add_le(f, range) or tree:add(f, range)
end

local function add_bits(item, range, value, names, f)
    for bit = 0, 63 do
        if has_bit(value, bit) then
            item:add(f, range, names[bit]):set_text(("Bit %d: %s"):format(bit, names[bit]))
        end
    end
end

local function add_queue(tree, range, value)
    tree:add(F.queue, range, value):set_generated(true)
end

local function add_field(tree, row, range, m)
    if row.style == "MAC_ADDRESS" then
        tree:add(row.field, range(0, 6))
        return
    elseif sizes[row.size] == nil then
        tree:add(row.field, range)
        return
    end
    local item = add_number(tree, row.field, range, m.little)
    local value = number_of(range, m.little)
    local names, f = bit_names(row.style, m.device)
    if names then
        add_bits(item, range, value, names, f)
    elseif row.kind == "QUEUE_INDEX" then
        add_queue(item, range, value.lo)
    elseif row.kind == "VRING_FD" then
        add_queue(item, range, value.lo % (T.vring.index + 1))
        item:add(F.nofd, range, has_bit(value, 8)):set_generated(true)
    elseif value.lo + value.hi > 0 and
        (row.kind == "ERROR" or (m.row.ack_is_u64 and m.reply and m.body:len() == 8)) then
        item:add_proto_expert_info(E.error_answer,
                                   ("%s failed: %s"):format(m.row.name, value.text))
    end
end

local function add_fields(tree, payload, body, m)
    for _, row in ipairs(payload.fields) do
        if is_there(row, body) then
            add_field(tree, row, body(row.offset, row.size), m)
        end
    end
end

-- What lies whole in these bytes of the configuration space, which is little-endian on all machines
-- (virtio 1.3, section 5).
local function add_config(tree, range, offset, m)
    for _, row in ipairs((T.devices[m.device] or T.devices[0]).config) do
        if row.offset >= offset and row.offset + row.size <= offset + range:len() then
            local part = range(row.offset - offset, row.size)
            if row.text or sizes[row.size] == nil then
                tree:add(row.field, part)
            else
                tree:add_le(row.field, part)
            end
        end
    end
end

local function add_bytes(tree, p, n, m)
    local range = m.body(p.fixed, n)
    local item = tree:add(p.bytes, range)
    for _, row in ipairs(p.fields) do
        if row.kind == "CONFIG_OFFSET" then
            add_config(item, range, number_of(m.body(row.offset, row.size), m.little).lo, m)
        end
    end
end

-- As many elements as are there whole. Returns where they end.
local function add_tail(tree, p, m)
    local at, len = p.fixed, m.body:len()
    if p.tail == "none" or len < p.fixed then
        return math.min(at, len)
    end
    local count = number_of(m.body(p.count, 4), m.little).lo
    if p.tail == "bytes" then
        count = math.min(count, len - at)
        if count > 0 then
            add_bytes(tree, p, count, m)
        end
        return at + count
    end
    local element = payloads[p.element]
    -- The larger form only when all are of it: some peers send room for more than they count.
    local each = count * element.most == len - at and element.most or element.fixed
    for i = 0, math.min(count, math.floor((len - at) / each)) - 1 do
        local range = m.body(at, each)
        local item = tree:add(p.regions, range)
        item:set_text(("%s %d"):format(label(p.element), i))
        add_fields(item, element, range, m)
        at = at + each
    end
    return at
end

local function add_payload(tree, m)
    local p = m.payload
    local len = m.body and m.body:len() or 0
    if p and (len < p.least or len > p.most) then
        tree:add_proto_expert_info(E.size, ("%d bytes of payload, not %d to %d")
            :format(len, p.least, p.most))
    end
    if len == 0 then
        return
    elseif not p then
        tree:add(F.bytes, m.body)
        return
    end
    local branch = tree:add(F.payload, m.body, p.name)
    add_fields(branch, p, m.body, m)
    local ends = add_tail(branch, p, m)
    if ends < len then
        branch:add(F.rest, m.body(ends))
    end
end

---- what records say about each other ----

local story -- of the file at hand
local frames -- packet number -> what the first pass found out about it

local function forget()
    story = { wires = {}, device = 0 }
    for wire in pairs(T.wires) do
        story.wires[wire] = { asked = {} }
    end
    frames = {}
end

forget()
P.init = forget

local function note_request(m, frame)
    local asked = story.wires[m.wire].asked
    if #asked == MAX_OUTSTANDING then
        table.remove(asked, 1)
    end
    asked[#asked + 1] = { id = m.id, frame = frame, time = m.time }
end

-- Answers come in the order of their requests: those before the one that is answered had none.
local function match_reply(m, frame, found)
    local asked = story.wires[m.wire].asked
    for i, request in ipairs(asked) do
        if request.id == m.id then
            found.response_to = request.frame
            found.latency = math.max(m.time - request.time, 0)
            frames[request.frame].response_in = frame
            for _ = 1, i do
                table.remove(asked, 1)
            end
            return
        end
    end
end

local function words(text)
    local set = {}
    for word in text:sub(2, -2):gmatch("[^,]+") do
        set[word:gsub("^ ", "")] = true
    end
    return set
end

-- "features without mq, mac", "num was 512": what a message was before it was changed.
local function difference(row, old, new)
    if not bit_names(row.style, 0) then
        return row.name .. " was " .. old
    end
    local had, has, lost, got = words(old), words(new), {}, {}
    for word in pairs(had) do
        lost[#lost + 1] = not has[word] and word or nil
    end
    for word in pairs(has) do
        got[#got + 1] = not had[word] and word or nil
    end
    table.sort(lost)
    table.sort(got)
    return row.name .. (#lost > 0 and " without " .. table.concat(lost, ", ") or "") ..
        (#got > 0 and " with " .. table.concat(got, ", ") or "")
end

local function differences(last, m)
    local found, texts = {}, {}
    for _, f in ipairs(m.shown) do
        texts[f.row] = f.text
    end
    for _, f in ipairs(last.shown) do
        if texts[f.row] and texts[f.row] ~= f.text then
            found[#found + 1] = difference(f.row, f.text, texts[f.row])
        end
    end
    if #found == 0 then
        found[1] = last.inodes ~= m.inodes and "other descriptors" or "other bytes"
    end
    return table.concat(found, "; ")
end

-- The shim handles one message at a time: what it passes on is the record right after the one in
-- which it came, on the other end of the same socket.
local function find_origin(m, found)
    local last = story.last
    if not m.sent then
        found.origin = "peer"
    elseif not (last and last.number + 1 == m.number and not last.sent and
                last.wire == T.wires[m.wire].across and last.id == m.id and
                last.reply == m.reply) then
        found.origin = "own"
    elseif last.raw == m.raw and last.inodes == m.inodes then
        found.origin = "passed"
    else
        found.origin = "changed"
        found.changed = last.frame
        found.before = differences(last, m)
    end
end

-- Returns what is known about this packet; the first time, finds it out. Lua has the time as a
-- floating-point number, and only the time since the first packet keeps its nanoseconds in one.
local function learn(r, pinfo)
    local found = frames[pinfo.number]
    if found then
        return found
    end
    found = {}
    frames[pinfo.number] = found
    local wire = story.wires[r.wire]
    if wire.life ~= r.life then
        wire.life, wire.asked = r.life, {}
    end
    if T.devices[r.device] and r.device ~= 0 then
        story.device = r.device
    end
    found.device = story.device
    found.time = math.floor(pinfo.rel_ts * 1e9 + 0.5)
    return found
end

local function learn_message(m, pinfo, found)
    if found.origin then
        return
    end
    m.frame, m.time = pinfo.number, found.time
    find_origin(m, found)
    if m.reply then
        match_reply(m, pinfo.number, found)
    else
        note_request(m, pinfo.number)
    end
    story.last = { number = m.number, sent = m.sent, wire = m.wire, id = m.id, reply = m.reply,
                   raw = m.raw, inodes = m.inodes, frame = m.frame, shown = m.shown }
end

-- Another back-end is there: what the one before was asked, and asked, stays without an answer.
local function learn_event(r, name, found)
    if found.told then
        return
    end
    found.told = true
    for wire, row in pairs(T.wires) do
        if name == "BACK_CONNECTED" and wire == r.wire or
           name == "BACK_HELD" and (row.name == "back" or row.name == "back channel") then
            story.wires[wire].asked = {}
        end
    end
end

---- records ----

local Malformed = {}

-- Ends the dissection of this record: why is shown.
local function malformed(why)
    error(setmetatable({ why = why }, Malformed), 0)
end

local function take_fds(tvb, r)
    r.fds, r.inodes = {}, ""
    for i = 0, r.n_fds - 1 do
        local range = tvb(R.len + i * R.fd_len, R.fd_len)
        r.fds[#r.fds + 1] = range
        r.inodes = r.inodes .. tostring(range(8, 8):bytes())
    end
end

local function take_record(tvb)
    if tvb:len() < R.len then
        malformed("a record that is too short")
    end
    if tvb(0, 1):uint() ~= R.version then
        malformed("a record of version " .. tvb(0, 1):uint() .. ", not " .. R.version)
    end
    local flags = tvb(3, 1):uint()
    local r = {
        kind = tvb(1, 1):uint(),
        wire = tvb(2, 1):uint(),
        sent = has_bit({ lo = flags }, 0),
        little = math.floor(flags / R.big_endian) % 2 == 0,
        device = tvb(4, 2):le_uint(),
        n_fds = tvb(6, 2):le_uint(),
        life = tvb(8, 4):le_uint(),
        number = tvb(16, 8):le_uint64():tonumber(),
        ends = R.len,
    }
    if r.n_fds > R.max_fds or r.n_fds * R.fd_len > tvb:len() - R.len then
        malformed("a record with impossible numbers")
    end
    take_fds(tvb, r)
    r.ends = R.len + r.n_fds * R.fd_len
    return r
end

local function add_record(tree, tvb, r, kind, found)
    local branch = tree:add(F.record, tvb(0, R.len))
    branch:add(F.kind, tvb(1, 1), kind)
    branch:add(F.wire, tvb(2, 1), T.wires[r.wire].name)
    branch:add(F.direction, tvb(3, 1), r.sent and "sent" or "received")
    branch:add(F.redacted, tvb(3, 1))
    if found.device ~= 0 then
        branch:add(F.device, tvb(4, 2), T.devices[found.device].name)
    end
    branch:add_le(F.life, tvb(8, 4))
    branch:add_le(F.number, tvb(16, 8))
end

local function add_fds(tree, r)
    for _, range in ipairs(r.fds) do
        local role = T.fd_roles[range(0, 1):uint()] or T.fd_roles[0]
        local kind = T.fd_kinds[range(1, 1):uint()] or T.fd_kinds[0]
        local item = tree:add(F.fd, range)
        item:set_text(("Descriptor: %s, %s %s"):format(role, kind, range(8, 8):le_uint64()))
        item:add(F.fd_role, range(0, 1), role)
        item:add(F.fd_kind, range(1, 1), kind)
        item:add_le(F.fd_inode, range(8, 8))
        item:add_le(F.fd_size, range(16, 8))
    end
end

---- messages ----

-- The record becomes the message that it holds.
local function take_message(tvb, m)
    local len = tvb:len() - m.ends
    if len < T.header.len then
        malformed("a message without its header")
    end
    m.head = tvb(m.ends, T.header.len)
    m.id = number_of(m.head(0, 4), m.little).lo
    m.flags = number_of(m.head(4, 4), m.little).lo
    m.size = number_of(m.head(8, 4), m.little).lo
    if m.size > R.max_payload or m.size ~= len - T.header.len then
        malformed("a message whose size is not what its header says")
    end
    m.body = m.size > 0 and tvb(m.ends + T.header.len, m.size) or nil
    m.reply = math.floor(m.flags / T.header.reply) % 2 == 1
    m.need_reply = math.floor(m.flags / T.header.need_reply) % 2 == 1
    m.row = T.messages[T.wires[m.wire].space][m.id]
    m.payload = m.row and payloads[m.reply and m.row.answer or m.row.request]
    m.name = m.row and m.row.name or ("unknown(%d)"):format(m.id)
    m.shown = shown_fields(m)
    m.raw = tostring(tvb(m.ends):bytes())
end

local function message_text(m)
    local text = (m.reply and "reply " or "") .. m.name .. (m.need_reply and " need_reply" or "")
    if not m.row then
        text = text .. (" %d bytes"):format(m.size)
    end
    for _, f in ipairs(m.shown) do
        text = text .. " " .. f.row.name .. "=" .. f.text
    end
    if #m.fds > 0 then
        local role = m.row and T.fd_roles[m.fds[1](0, 1):uint()]
        text = text .. (" +%d %s"):format(#m.fds, role or "descriptors")
    end
    return text
end

local function add_header(tree, m)
    local range = m.head
    local branch = tree:add(F.header, range)
    local item = branch:add(F.request, range(0, 4), m.name)
    if not m.row then
        item:add_proto_expert_info(E.unknown, "No message has number " .. m.id)
    end
    add_number(branch, F.id, range(0, 4), m.little)
    local flags = add_number(branch, F.flags, range(4, 4), m.little)
    add_number(flags, F.version, range(4, 4), m.little)
    add_number(flags, F.reply, range(4, 4), m.little)
    add_number(flags, F.need_reply, range(4, 4), m.little)
    add_number(branch, F.size, range(8, 4), m.little)
end

local function add_generated(tree, f, value)
    local item = tree:add(f, value)
    item:set_generated(true)
    return item
end

local function add_links(tree, found)
    local origin = add_generated(tree, F.origin, found.origin)
    if found.origin == "own" then
        origin:add_proto_expert_info(E.own)
    end
    if found.response_in then
        add_generated(tree, F.response_in, found.response_in)
    end
    if found.response_to then
        add_generated(tree, F.response_to, found.response_to)
        local seconds = math.floor(found.latency / 1e9)
        add_generated(tree, F.latency, NSTime(seconds, found.latency - seconds * 1e9))
    end
    if found.changed then
        local item = add_generated(tree, F.changed, found.changed)
        item:add_proto_expert_info(E.changed, "Changed by vushim: " .. found.before)
        add_generated(tree, F.before, found.before)
    end
end

local function dissect_message(tvb, pinfo, tree, m, found)
    take_message(tvb, m)
    learn_message(m, pinfo, found)
    add_header(tree, m)
    add_payload(tree, m)
    add_fds(tree, m)
    add_links(tree, found)
    local text = message_text(m)
    pinfo.cols.info = text
    return text
end

---- other records ----

-- u16 length and UTF-8. Returns where it stands, its text, and what is behind it.
local function take_text(tvb, at)
    if tvb:len() - at < 2 then
        malformed("a text that reaches past its record")
    end
    local len = tvb(at, 2):le_uint()
    if len > tvb:len() - at - 2 then
        malformed("a text that reaches past its record")
    end
    local range = tvb(at, len + 2)
    return range, len > 0 and tvb(at + 2, len):string(ENC_UTF_8) or "", at + 2 + len
end

local function dissect_texts(tvb, pinfo, tree, r, f)
    local name_range, name, at = take_text(tvb, r.ends)
    local text_range, text = take_text(tvb, at)
    local item = tree:add(f, name_range, name)
    tree:add(F.text, text_range, text)
    return item, name, text
end

local function dissect_ending(tvb, pinfo, tree, r)
    local item, name, text = dissect_texts(tvb, pinfo, tree, r, F.ending)
    local row = T.endings[name]
    local e = E.ending[row and row.level or "error"]
    local peer = T.wires[r.wire].peer
    item:add_proto_expert_info(e, ("The %s %s"):format(peer, row and row.text or "is gone"))
    return "ending " .. name .. ": " .. text
end

local function dissect_refused(tvb, pinfo, tree, r)
    local item, _, text = dissect_texts(tvb, pinfo, tree, r, F.refused)
    item:add_proto_expert_info(E.refused, "Refused by vushim: " .. text)
    return "refused: " .. text
end

local function dissect_event(tvb, pinfo, tree, r, found)
    local _, name, text = dissect_texts(tvb, pinfo, tree, r, F.event)
    learn_event(r, name, found)
    local meaning = T.events[name]
    return name .. (text ~= "" and ": " .. text or meaning and ": " .. meaning or "")
end

local function dissect_gap(tvb, pinfo, tree, r)
    if tvb:len() - r.ends < 8 then
        malformed("a gap that does not say how long it is")
    end
    local range = tvb(r.ends, 8)
    local text = ("%s records were lost"):format(range:le_uint64())
    tree:add_le(F.lost, range):add_proto_expert_info(E.gap, text)
    return text
end

local kinds = {
    [R.message] = { name = "message", dissect = dissect_message },
    [R.ending] = { name = "ending", dissect = dissect_ending },
    [R.refused] = { name = "refused", dissect = dissect_refused },
    [R.event] = { name = "event", dissect = dissect_event },
    [R.gap] = { name = "gap", dissect = dissect_gap },
}

local function dissect(tvb, pinfo, tree)
    local r = take_record(tvb)
    local kind, wire = kinds[r.kind], T.wires[r.wire]
    if not kind or not wire then
        tree:add_proto_expert_info(E.later, "A record of a kind or a wire that this dissector does " ..
                                            "not know")
        pinfo.cols.info = ("record of kind %d on wire %d"):format(r.kind, r.wire)
        return
    end
    local peer = wire.peer
    pinfo.cols.src = r.sent and "vushim" or peer
    pinfo.cols.dst = r.sent and peer or "vushim"
    local found = learn(r, pinfo)
    if r.kind ~= R.message then
        story.last = nil
    end
    r.device = found.device
    add_record(tree, tvb, r, kind.name, found)
    local text = kind.dissect(tvb, pinfo, tree, r, found)
    pinfo.cols.info = text
    tree:append_text(", " .. text)
end

function P.dissector(tvb, pinfo, root)
    pinfo.cols.protocol = "vhost-user"
    local tree = root:add(P, tvb())
    local good, why = pcall(dissect, tvb, pinfo, tree)
    if good then
        return tvb:len()
    elseif getmetatable(why) ~= Malformed then
        error(why, 0) -- a fault of ours: Wireshark shows it as such
    end
    tree:add_proto_expert_info(E.malformed, "Malformed record: " .. why.why)
    pinfo.cols.info = "malformed: " .. why.why
    return tvb:len()
end
