// C++: the operators, exceptions without memory, thread-local and static destructors.
// The allocation functions of libstdc++ call malloc, aligned_alloc and free.
extern "C" {
#include "case.h"
}

#include <map>
#include <memory>
#include <new>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

CASE(every_operator_new_meets_its_delete)
{
    for (size_t size = 0; size <= 200000; size = size * 3 + 1) {
        void *p = ::operator new(size);
        CHECK_IN_POOL(p);
        ::operator delete(p);
        p = ::operator new(size);
        ::operator delete(p, size);
        p = ::operator new(size, std::nothrow);
        ::operator delete(p, std::nothrow);
        p = ::operator new[](size);
        ::operator delete[](p);
        p = ::operator new[](size);
        ::operator delete[](p, size);
        p = ::operator new[](size, std::nothrow);
        ::operator delete[](p, std::nothrow);
        for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
            std::align_val_t align{alignment};
            p = ::operator new(size, align);
            CHECK((reinterpret_cast<uintptr_t>(p) & (alignment - 1)) == 0);
            ::operator delete(p, align);
            p = ::operator new(size, align);
            ::operator delete(p, size, align);
            p = ::operator new(size, align, std::nothrow);
            ::operator delete(p, align, std::nothrow);
            p = ::operator new[](size, align);
            ::operator delete[](p, align);
            p = ::operator new[](size, align);
            ::operator delete[](p, size, align);
            p = ::operator new[](size, align, std::nothrow);
            ::operator delete[](p, align, std::nothrow);
        }
    }
}

CASE(a_full_pool_throws_bad_alloc)
{
    for (int round = 0; round < 3; round++) {
        std::vector<std::unique_ptr<char[]>> blocks;
        blocks.reserve(1 << 16);
        bool thrown = false;
        while (!thrown) {
            try {
                blocks.emplace_back(new char[10000]);
            } catch (const std::bad_alloc &) {
                thrown = true;
            }
        }
        CHECK_GE(blocks.size() * 10000, pool_bytes() / 10 * 8);
        CHECK(::operator new(1000000, std::nothrow) == nullptr);
    }
    CHECK_EQ(std::string(1000000, 'x').size(), 1000000);
}

static char *reserve_memory;
static int handler_calls;

static void release_reserve()
{
    handler_calls++;
    if (reserve_memory == nullptr)
        throw std::bad_alloc();
    delete[] reserve_memory;
    reserve_memory = nullptr;
}

CASE(a_new_handler_can_make_room)
{
    reserve_memory = new char[4 * MIB];
    std::set_new_handler(release_reserve);
    struct link *chain = nullptr;
    fill(&chain, 10000, SIZE_MAX / 2);
    fill(&chain, 64, SIZE_MAX / 2);
    char *p = new char[100000];
    CHECK_EQ(handler_calls, 1);
    delete[] p;
    free_chain(&chain);
}

CASE(exceptions_pass_through_threads_without_memory)
{
    struct link *chain = nullptr;
    auto exception = std::make_exception_ptr(std::runtime_error("prepared"));
    fill(&chain, 100000, SIZE_MAX / 2);
    fill(&chain, 8, SIZE_MAX / 2);
    int caught = 0;
    for (int i = 0; i < 100; i++) {
        try {
            throw 42; // libstdc++ falls back to its emergency pool
        } catch (int value) {
            caught += value == 42;
        }
    }
    free_chain(&chain);
    CHECK_EQ(caught, 100);
    CHECK(exception != nullptr);
}

struct Witness {
    std::map<std::string, std::vector<int>> data;
    ~Witness()
    {
        for (int i = 0; i < 100; i++)
            data["after " + std::to_string(i)].assign(1000, i);
        data.clear();
    }
};

static Witness global_witness;
static thread_local Witness thread_witness;

CASE(thread_local_and_static_destructors_allocate)
{
    for (int round = 0; round < 50; round++) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 8; i++)
            threads.emplace_back([i] { thread_witness.data["thread"].assign(5000, i); });
        for (auto &thread : threads)
            thread.join();
    }
    thread_witness.data["main"].assign(5000, 1);
    global_witness.data["global"].assign(5000, 1);
}

CASE(the_standard_library_works)
{
    std::ostringstream text;
    for (int i = 0; i < 20000; i++)
        text << "key" << i * 7919 % 20000 << '=' << i << ';';
    std::map<std::string, int> found;
    const std::string all = text.str();
    std::regex pair("(key[0-9]+)=([0-9]+)");
    for (std::sregex_iterator it(all.begin(), all.end(), pair), end; it != end; ++it)
        found[(*it)[1]] = std::stoi((*it)[2]);
    CHECK_EQ(found.size(), 20000);
    CHECK_EQ(found["key7919"], 1);
}
