from jaxcnn.config import AugmentConfig, Config, DataConfig, OptimConfig, TaskConfig


def get_config() -> Config:
    return Config(
        model="dncnn_s",
        model_fields=(("depth", 12), ("filters", 32)),
        data=DataConfig(
            name="folder:photos",
            target_kind="none",
            channels=1,
            image_size=256,
            image_size_stages=((40, 0.0),),
            train_transform="random_patch",
            eval_transform="center_patch",
            batch_size=16,
            eval_batch_size=1,
        ),
        augment=AugmentConfig(flip=0.5),
        task=TaskConfig(
            name="restoration", corruption="gaussian", corruption_level=(25.0,)
        ),
        optim=OptimConfig(name="adam", peak_lr=2e-3, warmup_epochs=5.0),
        num_epochs=96.0,
        eval_every_epochs=32.0,
    )
