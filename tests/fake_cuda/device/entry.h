/* The entry of a kernel. A launch brings its arguments as an array of pointers, and only the
   compiler knows their types. So a line FAKE_ENTRY(kernel, flags) after the source makes a function
   that takes the array, and a list of the sizes; native/kernels.c uses both. */
#pragma once

struct fake_entry {
    void (*run)(void** arguments);
    const unsigned* sizes; /* 0 ends them */
    int flags;
};

template <auto kernel, class Type> struct fake_call;
template <auto kernel, class... Arguments> struct fake_call<kernel, void (*)(Arguments...)> {
    static constexpr unsigned sizes[] = {(unsigned)sizeof(Arguments)..., 0};

    template <size_t... I> static void spread(void** arguments, std::index_sequence<I...>) {
        kernel(*(std::remove_reference_t<Arguments>*)arguments[I]...);
    }
    static void run(void** arguments) {
        spread(arguments, std::index_sequence_for<Arguments...>{});
    }
};

#define FAKE_ENTRY(kernel, flags)                                                                  \
    extern "C" {                                                                                   \
    fake_entry fake_entry_##kernel = {fake_call<&kernel, decltype(&kernel)>::run,                  \
                                      fake_call<&kernel, decltype(&kernel)>::sizes, flags};        \
    }
