"""The `bistill` command: thin commands that parse, call the library and print.

One module a command. At import they need click alone: what a command does is loaded when it is run,
so that `--help` answers at once.
"""

from .add_task import add_task_command
from .check import check_command
from .compare import compare_command
from .convert import convert_teacher_command
from .demo import demo_command
from .evaluate import eval_command
from .export import export_command
from .group import main
from .inspect import inspect_command
from .new_pair import new_pair_command
from .package import package_command
from .pairs import pairs_command
from .plan import plan_command
from .pretrain import pretrain_command
from .push import push_command
from .recipes import recipes_command
from .run import run_command
from .score import score_command
from .submit import submit_command
from .train_language_delta import train_language_delta_command
from .trim import trim_command

__all__ = ["main"]

for _command in (
    demo_command,
    new_pair_command,
    run_command,
    plan_command,
    submit_command,
    inspect_command,
    trim_command,
    convert_teacher_command,
    eval_command,
    score_command,
    compare_command,
    package_command,
    export_command,
    check_command,
    push_command,
    add_task_command,
    pairs_command,
    recipes_command,
    pretrain_command,
    train_language_delta_command,
):
    main.add_command(_command)
