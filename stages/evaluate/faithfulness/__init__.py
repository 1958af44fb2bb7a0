def check_metrics(names):
    from stages.evaluate.faithfulness.registry import get_metric

    for one in names:
        get_metric(one)
