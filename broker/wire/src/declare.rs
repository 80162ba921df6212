//! The two macros by which messages are declared.
//!
//! ```text
//! message! {
//!     /// What it asks for.
//!     pub struct HeartbeatRequest<'a>: versions 0..=4, flexible 4 {
//!         /// What the field means.
//!         group_instance_id: Option<&'a str> = None, since(3).nullable(3);
//!     }
//! }
//! ```
//!
//! A field is: name, type, default (the value where the version lacks it), versions
//! (`since(3)`, `between(0, 2)`), then as needed `.nullable(from)`, `.tag(n)`, `.ignorable()`.
//! The order of the fields is that of the wire. `part!` declares a struct inside a message; it
//! has no versions of its own. The specs are constants, so each version test is folded.

/// Declares a struct that is a part of a message, and its codec.
macro_rules! part {
    (
        $(#[$meta:meta])*
        pub struct $name:ident $(<$lt:lifetime>)? {
            $( $(#[$field_meta:meta])* $field:ident: $ty:ty = $default:expr, $spec:expr; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name $(<$lt>)? {
            $( $(#[$field_meta])* pub $field: $ty, )*
        }

        impl $(<$lt>)? Default for $name $(<$lt>)? {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        #[allow(
            unused_mut, unused_variables, clippy::arithmetic_side_effects, clippy::nonminimal_bool,
            reason = "structs without tags or fields use only a part; sums are of constants"
        )]
        impl<'a> $crate::field::Field<'a> for $name $(<$lt>)? {
            fn wire_bytes_min(shape: $crate::field::Shape) -> usize {
                let mut sum: usize = usize::from(shape.flexible);
                $( {
                    const SPEC: $crate::field::Spec = $spec;
                    if SPEC.in_body(shape.version) {
                        let least = <$ty as $crate::field::Field<'_>>::wire_bytes_min(
                            SPEC.shape(shape),
                        );
                        sum = sum.saturating_add(least);
                    }
                } )*
                sum
            }

            fn read(
                d: &mut $crate::decode::Decoder<'a>,
                shape: $crate::field::Shape,
            ) -> Result<Self, $crate::error::DecodeError> {
                let mut this = Self {
                    $( $field: {
                        const SPEC: $crate::field::Spec = $spec;
                        if SPEC.in_body(shape.version) {
                            $crate::field::Field::read(d, SPEC.shape(shape))?
                        } else {
                            $default
                        }
                    }, )*
                };
                if shape.flexible {
                    const KNOWN: usize = 0 $( + $spec.is_tagged() as usize )*;
                    d.tagged_fields(KNOWN, |d, tag| {
                        $( {
                            const SPEC: $crate::field::Spec = $spec;
                            if SPEC.tag_in(shape.version) == Some(tag) {
                                this.$field = $crate::field::Field::read(d, SPEC.shape(shape))?;
                                return Ok(true);
                            }
                        } )*
                        Ok(false)
                    })?;
                }
                Ok(this)
            }

            fn write(
                &self,
                e: &mut $crate::encode::Encoder,
                shape: $crate::field::Shape,
            ) -> Result<(), $crate::error::EncodeError> {
                let mut tagged: u32 = 0;
                $( {
                    const SPEC: $crate::field::Spec = $spec;
                    if SPEC.in_body(shape.version) {
                        $crate::field::Field::write(&self.$field, e, SPEC.shape(shape))?;
                    } else if SPEC.tag_in(shape.version).is_some() {
                        tagged += u32::from($crate::field::differ(&self.$field, $default));
                    } else if !SPEC.is_ignorable()
                        && $crate::field::differ(&self.$field, $default)
                    {
                        return Err($crate::error::EncodeError::FieldNotInVersion {
                            message: stringify!($name),
                            field: stringify!($field),
                            version: shape.version,
                        });
                    }
                } )*
                if shape.flexible {
                    e.uvarint(tagged);
                    $( {
                        const SPEC: $crate::field::Spec = $spec;
                        if let Some(tag) = SPEC.tag_in(shape.version)
                            && $crate::field::differ(&self.$field, $default)
                        {
                            e.tagged_field(tag, |e| {
                                $crate::field::Field::write(&self.$field, e, SPEC.shape(shape))
                            })?;
                        }
                    } )*
                }
                Ok(())
            }

            fn set_throttle_time(&mut self, version: i16, ms: i32) {
                $( {
                    const SPEC: $crate::field::Spec = $spec;
                    if stringify!($field) == "throttle_time_ms" && SPEC.in_body(version) {
                        $crate::field::Field::set_millis(&mut self.$field, ms);
                    }
                } )*
            }

            #[cfg(test)]
            fn arbitrary(rng: &mut $crate::tests::Rng, shape: $crate::field::Shape) -> Self {
                Self {
                    $( $field: {
                        const SPEC: $crate::field::Spec = $spec;
                        let there = SPEC.in_body(shape.version)
                            || SPEC.tag_in(shape.version).is_some() && rng.below(2) == 0;
                        if there {
                            $crate::field::Field::arbitrary(rng, SPEC.shape(shape))
                        } else {
                            $default
                        }
                    }, )*
                }
            }

            #[cfg(test)]
            fn heap_bytes(&self) -> usize {
                0 $( + $crate::field::Field::heap_bytes(&self.$field) )*
            }
        }

        impl<'a> $crate::field::Nullable<'a> for $name $(<$lt>)? {
            fn read_nullable(
                d: &mut $crate::decode::Decoder<'a>,
                shape: $crate::field::Shape,
            ) -> Result<Option<Self>, $crate::error::DecodeError> {
                $crate::field::read_nullable_struct(d, shape)
            }

            fn write_nullable(
                this: Option<&Self>,
                e: &mut $crate::encode::Encoder,
                shape: $crate::field::Shape,
            ) -> Result<(), $crate::error::EncodeError> {
                $crate::field::write_nullable_struct(this, e, shape)
            }
        }
    };
}

/// Declares a message: a [`part!`] with versions and a flexible-version threshold.
macro_rules! message {
    (
        $(#[$meta:meta])*
        pub struct $name:ident $(<$lt:lifetime>)?:
            versions $first:literal ..= $last:literal, flexible $flexible:tt
        { $($fields:tt)* }
    ) => {
        $crate::declare::part! {
            $(#[$meta])*
            pub struct $name $(<$lt>)? { $($fields)* }
        }

        impl<'a> $crate::message::Message<'a> for $name $(<$lt>)? {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: $crate::api::VersionRange =
                $crate::api::VersionRange { min: $first, max: $last };
            const FLEXIBLE_FROM: i16 = $crate::declare::message!(@flexible $flexible);

            fn decode(
                d: &mut $crate::decode::Decoder<'a>,
                version: i16,
            ) -> Result<Self, $crate::error::DecodeError> {
                match $crate::message::shape_of::<Self>(version) {
                    Some(shape) => $crate::field::Field::read(d, shape),
                    None => Err(d.fail($crate::error::DecodeErrorKind::UnsupportedVersion(
                        version,
                    ))),
                }
            }

            fn encode(
                &self,
                e: &mut $crate::encode::Encoder,
                version: i16,
            ) -> Result<(), $crate::error::EncodeError> {
                match $crate::message::shape_of::<Self>(version) {
                    Some(shape) => $crate::field::Field::write(self, e, shape),
                    None => Err($crate::error::EncodeError::UnsupportedVersion {
                        message: Self::NAME,
                        version,
                    }),
                }
            }

            fn set_throttle_time(&mut self, version: i16, ms: i32) {
                $crate::field::Field::set_throttle_time(self, version, ms);
            }
        }
    };
    (@flexible none) => { i16::MAX };
    (@flexible $from:literal) => { $from };
}

pub(crate) use {message, part};
