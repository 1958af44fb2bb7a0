from stages.explain.method_layers import method_of


def check_methods(methods):
    from stages.errors import unknown
    from stages.explain.registry import explainers

    table = explainers()
    for one in methods:
        if method_of(one) not in table:
            raise unknown("method", method_of(one), sorted(table), about="methods")
