"""Running a plan: guard, train, verify."""

import advisor.step  # noqa: F401 - before torch and peft, for it sets how their imports behave
